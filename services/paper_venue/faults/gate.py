"""Refuses requests to the CLOB by the venue's state and limits, before they are handled."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from functools import partial
from typing import Any

import orjson

from services.paper_venue.exchange import rules
from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults
from services.paper_venue.http.payloads import Json

RESTARTING = "the matching engine is restarting"
GEOBLOCKED = "Trading restricted in your region, please refer to available regions - https://docs.polymarket.com/developers/CLOB/geoblock"
ADDRESS_LIMIT = 20
"""Requests of one address in the fault's ``seconds``. The real limit, 9,000 in ten seconds, is
never reached on one machine."""
SIGNER_LIMIT = 2
"""Orders of one signer in the fault's ``seconds``. The real limit starts at 40 a second."""

_PLACING = frozenset((("POST", "/order"), ("POST", "/orders")))
_CANCELLING = frozenset(
    ("DELETE", path) for path in ("/order", "/orders", "/cancel-all", "/cancel-market-orders")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSummary:
    """What the gate needs to know of one order in a request."""

    maker: str
    buys: bool
    post_only: bool
    token_id: str = ""
    signature_type: str = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClobRequest:
    """What the gate needs to know of a request; ``address`` is the one in its headers, unverified;
    None: none.
    """

    method: str
    path: str
    remote: str
    address: str | None = None
    api_key: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    orders: tuple[OrderSummary, ...] = ()

    @property
    def places_orders(self) -> bool:
        return (self.method, self.path) in _PLACING

    @property
    def cancels_orders(self) -> bool:
        return (self.method, self.path) in _CANCELLING

    @property
    def maker(self) -> str | None:
        """The wallet of the orders (all of a request are from one), else the address."""
        return self.orders[0].maker if self.orders else self.address


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    status: int
    body: Json
    page: str = ""
    """HTML that is sent instead of the body."""
    headers: Mapping[str, str] = field(default_factory=dict)


class Gate:
    """Refuses requests while a fault of the venue's state or limits is on."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._by_address: defaultdict[str, SlidingWindow] = defaultdict(SlidingWindow)
        self._by_signer: defaultdict[str, SlidingWindow] = defaultdict(SlidingWindow)

    def refusal(self, clob_request: ClobRequest, *, now_ms: int, machine_ms: int) -> Refusal | None:
        """Why the request is refused; None: it is not. ``now_ms`` is the venue's clock,
        ``machine_ms`` the machine's.
        """
        refusals = (
            refusal
            for check in self._checks(clob_request, now_ms, machine_ms)
            if (refusal := check()) is not None
        )
        return next(refusals, None)

    def _checks(
        self, clob_request: ClobRequest, now_ms: int, machine_ms: int
    ) -> Iterator[Callable[[], Refusal | None]]:
        """Evaluated one after another: a refused request is no chance for the faults after it."""
        yield partial(self._address_limit_refusal, clob_request, machine_ms)
        if clob_request.places_orders or clob_request.cancels_orders:
            yield partial(self._restart_refusal, clob_request, machine_ms)
            yield partial(self._state_refusal, clob_request)
        if clob_request.places_orders:
            yield partial(self._account_refusal, clob_request)
            yield partial(self._signer_limit_refusal, clob_request, now_ms, machine_ms)

    def _trigger(self, fault: Fault, clob_request: ClobRequest) -> FaultOptions | None:
        return self._faults.trigger(fault, wallet=clob_request.maker, signer=clob_request.address)

    def _address_limit_refusal(self, clob_request: ClobRequest, machine_ms: int) -> Refusal | None:
        limit = self._faults.active.get(Fault.RATE_LIMIT_ADDRESS)
        if limit is None:
            return None
        wait_ms = self._by_address[clob_request.remote].acquire(
            1, limit=ADDRESS_LIMIT, within_ms=_ms(limit.seconds), now_ms=machine_ms
        )
        if not wait_ms or self._trigger(Fault.RATE_LIMIT_ADDRESS, clob_request) is None:
            return None
        return Refusal(
            status=429,
            body={"error": rules.TOO_MANY_REQUESTS},
            headers={"Retry-After": _seconds(wait_ms)},
        )

    def _signer_limit_refusal(
        self, clob_request: ClobRequest, now_ms: int, machine_ms: int
    ) -> Refusal | None:
        """A batch counts as many orders as it has; it is accepted or refused as a whole."""
        limit = self._faults.active.get(Fault.RATE_LIMIT_SIGNER)
        if limit is None:
            return None
        window = self._by_signer[(clob_request.address or "").lower()]
        wait_ms = window.acquire(
            max(1, len(clob_request.orders)),
            limit=SIGNER_LIMIT,
            within_ms=_ms(limit.seconds),
            now_ms=machine_ms,
        )
        if not wait_ms or self._trigger(Fault.RATE_LIMIT_SIGNER, clob_request) is None:
            return None
        headers = {
            "Retry-After": _seconds(wait_ms),
            "Poly-RateLimit-Remaining": str(SIGNER_LIMIT - window.used),
            "Poly-RateLimit-Reset": _seconds(now_ms + wait_ms),
            "Poly-RateLimit-Tier": "standard",
        }
        return Refusal(status=429, body={"error": rules.TOO_MANY_REQUESTS}, headers=headers)

    def _restart_refusal(self, clob_request: ClobRequest, machine_ms: int) -> Refusal | None:
        """Closed for the fault's ``seconds``, then post-only for as long again, then open."""
        restart = self._faults.active.get(Fault.RESTART)
        if restart is None:
            return None
        phase_ms = _ms(restart.seconds)
        elapsed_ms = machine_ms - self._faults.started_at_ms[Fault.RESTART]
        if elapsed_ms < phase_ms and self._trigger(Fault.RESTART, clob_request):
            return Refusal(status=425, body={"error": RESTARTING})
        if (
            phase_ms <= elapsed_ms < 2 * phase_ms
            and _may_take_liquidity(clob_request)
            and self._trigger(Fault.RESTART, clob_request)
        ):
            return _post_only_refusal(2 * phase_ms - elapsed_ms)
        return None

    def _state_refusal(self, clob_request: ClobRequest) -> Refusal | None:
        if self._trigger(Fault.DISABLED, clob_request):
            return Refusal(status=503, body={"error": rules.TRADING_DISABLED})
        if clob_request.places_orders and self._trigger(Fault.CANCEL_ONLY, clob_request):
            return Refusal(status=503, body={"error": rules.CANCEL_ONLY})
        if _may_take_liquidity(clob_request) and (
            options := self._trigger(Fault.POST_ONLY, clob_request)
        ):
            return _post_only_refusal(_ms(options.seconds))
        return None

    def _account_refusal(self, clob_request: ClobRequest) -> Refusal | None:
        """Refusals because of the account or its country."""
        if self._trigger(Fault.GEOBLOCK, clob_request):
            return Refusal(status=403, body={"error": GEOBLOCKED})
        if any(order.buys for order in clob_request.orders) and self._trigger(
            Fault.CLOSED_ONLY, clob_request
        ):
            return Refusal(status=400, body={"error": rules.CLOSED_ONLY})
        return None


@dataclass(slots=True)
class SlidingWindow:
    """The costs of the requests in the last ``within_ms``."""

    acquired: deque[tuple[int, int]] = field(default_factory=deque)
    """(ms, cost) of each accepted request, oldest first."""

    @property
    def used(self) -> int:
        return sum(cost for _, cost in self.acquired)

    def acquire(self, cost: int, *, limit: int, within_ms: int, now_ms: int) -> int:
        """Count ``cost`` if it fits. Returns 0 if it was counted, else the milliseconds until it
        would fit.
        """
        while self.acquired and self.acquired[0][0] <= now_ms - within_ms:
            self.acquired.popleft()
        if self.used + cost <= limit:
            self.acquired.append((now_ms, cost))
            return 0
        return self.acquired[0][0] + within_ms - now_ms if self.acquired else max(1, within_ms)


def parse_order_summaries(body: bytes) -> tuple[OrderSummary, ...]:
    """The orders in a body of ``POST /order`` or ``/orders``; a malformed one is skipped, as the
    handler refuses it.
    """
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ()
    return tuple(
        _parse_order_summary(order)
        for order in (payload if isinstance(payload, list) else [payload])
        if isinstance(order, dict)
    )


def _parse_order_summary(payload: dict[str, Any]) -> OrderSummary:
    order = payload.get("order")
    signed = order if isinstance(order, dict) else {}
    return OrderSummary(
        maker=str(signed.get("maker", "")),
        buys=signed.get("side") == "BUY",
        post_only=payload.get("postOnly") is True,
        token_id=str(signed.get("tokenId", "")),
        signature_type=str(signed.get("signatureType", "0")),
    )


def _may_take_liquidity(clob_request: ClobRequest) -> bool:
    return clob_request.places_orders and not all(order.post_only for order in clob_request.orders)


def _post_only_refusal(remaining_ms: int) -> Refusal:
    seconds = _seconds(remaining_ms)
    body = {
        "error": rules.POST_ONLY_MODE,
        "code": "post_only_mode",
        "retry_after_seconds": int(seconds),
    }
    return Refusal(status=503, body=body, headers={"Retry-After": seconds})


def _ms(seconds: Decimal) -> int:
    return int(seconds * 1000)


def _seconds(ms: int) -> str:
    """Whole seconds, rounded up: a client that waits so long is not refused again."""
    return str((Decimal(ms) / 1000).to_integral_value(ROUND_CEILING))
