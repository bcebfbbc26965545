"""Does the venue take this request now? Its own states and limits decide, before anybody looks at
what is asked.
"""

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
"""Requests of one address in the strike's seconds. The real limit, 9,000 in ten seconds, would
strike nobody on one machine."""
SIGNER_LIMIT = 2
"""Orders of one signer in the strike's seconds. The real one starts at 40 a second."""

_PLACING = frozenset((("POST", "/order"), ("POST", "/orders")))
_CANCELLING = frozenset(
    ("DELETE", path) for path in ("/order", "/orders", "/cancel-all", "/cancel-market-orders")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSummary:
    """One order of a request, as far as the gate looks."""

    maker: str
    buys: bool
    post_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClobRequest:
    """A request to the CLOB. ``address`` is what its headers claim; None: nothing."""

    method: str
    path: str
    remote: str
    address: str | None = None
    orders: tuple[OrderSummary, ...] = ()

    @property
    def places_orders(self) -> bool:
        return (self.method, self.path) in _PLACING

    @property
    def cancels_orders(self) -> bool:
        return (self.method, self.path) in _CANCELLING

    @property
    def maker(self) -> str | None:
        """All orders of a request are one wallet's."""
        return self.orders[0].maker if self.orders else self.address


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    status: int
    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)


class Gate:
    """Says no for as long as a fault of the venue's state or limits is on."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._by_address: defaultdict[str, SlidingWindow] = defaultdict(SlidingWindow)
        self._by_signer: defaultdict[str, SlidingWindow] = defaultdict(SlidingWindow)

    def refusal(self, call: ClobRequest, *, now_ms: int, machine_ms: int) -> Refusal | None:
        """``now_ms`` by the venue's clock, ``machine_ms`` by the machine's. None: it may pass."""
        refusals = (
            found
            for check in self._checks(call, now_ms, machine_ms)
            if (found := check()) is not None
        )
        return next(refusals, None)

    def _checks(
        self, call: ClobRequest, now_ms: int, machine_ms: int
    ) -> Iterator[Callable[[], Refusal | None]]:
        """One after another, as what is refused already is no chance for the next fault."""
        yield partial(self._address_limit_refusal, call, machine_ms)
        if call.places_orders or call.cancels_orders:
            yield partial(self._restart_refusal, call, machine_ms)
            yield partial(self._state_refusal, call)
        if call.places_orders:
            yield partial(self._account_refusal, call)
            yield partial(self._signer_limit_refusal, call, now_ms, machine_ms)

    def _trigger(self, fault: Fault, call: ClobRequest) -> FaultOptions | None:
        return self._faults.trigger(fault, wallet=call.maker, signer=call.address)

    def _address_limit_refusal(self, call: ClobRequest, machine_ms: int) -> Refusal | None:
        limit = self._faults.active.get(Fault.RATE_LIMIT_ADDRESS)
        if limit is None:
            return None
        wait_ms = self._by_address[call.remote].acquire(
            1, limit=ADDRESS_LIMIT, within_ms=_ms(limit.seconds), now_ms=machine_ms
        )
        if not wait_ms or self._trigger(Fault.RATE_LIMIT_ADDRESS, call) is None:
            return None
        return Refusal(
            status=429,
            body={"error": rules.TOO_MANY_REQUESTS},
            headers={"Retry-After": _seconds(wait_ms)},
        )

    def _signer_limit_refusal(
        self, call: ClobRequest, now_ms: int, machine_ms: int
    ) -> Refusal | None:
        """A batch costs its length, all of it or nothing."""
        limit = self._faults.active.get(Fault.RATE_LIMIT_SIGNER)
        if limit is None:
            return None
        window = self._by_signer[(call.address or "").lower()]
        wait_ms = window.acquire(
            max(1, len(call.orders)),
            limit=SIGNER_LIMIT,
            within_ms=_ms(limit.seconds),
            now_ms=machine_ms,
        )
        if not wait_ms or self._trigger(Fault.RATE_LIMIT_SIGNER, call) is None:
            return None
        told = {
            "Retry-After": _seconds(wait_ms),
            "Poly-RateLimit-Remaining": str(SIGNER_LIMIT - window.used),
            "Poly-RateLimit-Reset": _seconds(now_ms + wait_ms),
            "Poly-RateLimit-Tier": "standard",
        }
        return Refusal(status=429, body={"error": rules.TOO_MANY_REQUESTS}, headers=told)

    def _restart_refusal(self, call: ClobRequest, machine_ms: int) -> Refusal | None:
        """Closed for the strike's seconds, then post-only for as long again, then as always."""
        restart = self._faults.active.get(Fault.RESTART)
        if restart is None:
            return None
        phase_ms = _ms(restart.seconds)
        passed_ms = machine_ms - self._faults.started_at_ms[Fault.RESTART]
        if passed_ms < phase_ms and self._trigger(Fault.RESTART, call):
            return Refusal(status=425, body={"error": RESTARTING})
        if (
            phase_ms <= passed_ms < 2 * phase_ms
            and _may_take_liquidity(call)
            and self._trigger(Fault.RESTART, call)
        ):
            return _post_only_refusal(2 * phase_ms - passed_ms)
        return None

    def _state_refusal(self, call: ClobRequest) -> Refusal | None:
        if self._trigger(Fault.DISABLED, call):
            return Refusal(status=503, body={"error": rules.TRADING_DISABLED})
        if call.places_orders and self._trigger(Fault.CANCEL_ONLY, call):
            return Refusal(status=503, body={"error": rules.CANCEL_ONLY})
        if _may_take_liquidity(call) and (strike := self._trigger(Fault.POST_ONLY, call)):
            return _post_only_refusal(_ms(strike.seconds))
        return None

    def _account_refusal(self, call: ClobRequest) -> Refusal | None:
        """What is refused because of who asks, and from where."""
        if self._trigger(Fault.GEOBLOCK, call):
            return Refusal(status=403, body={"error": GEOBLOCKED})
        if any(order.buys for order in call.orders) and self._trigger(Fault.CLOSED_ONLY, call):
            return Refusal(status=400, body={"error": rules.CLOSED_ONLY})
        return None


@dataclass(slots=True)
class SlidingWindow:
    """How much was taken in the time just past."""

    acquired: deque[tuple[int, int]] = field(default_factory=deque)
    """(when, how much), oldest first."""

    @property
    def used(self) -> int:
        return sum(cost for _, cost in self.acquired)

    def acquire(self, cost: int, *, limit: int, within_ms: int, now_ms: int) -> int:
        """Take it, if it fits. Returns the milliseconds until it could; 0: taken."""
        while self.acquired and self.acquired[0][0] <= now_ms - within_ms:
            self.acquired.popleft()
        if self.used + cost <= limit:
            self.acquired.append((now_ms, cost))
            return 0
        return self.acquired[0][0] + within_ms - now_ms if self.acquired else max(1, within_ms)


def parse_order_summaries(body: bytes) -> tuple[OrderSummary, ...]:
    """The orders of a body of ``POST /order`` or ``/orders``; what is none is left to the handler
    to refuse.
    """
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ()
    return tuple(
        _parse_order_summary(order)
        for order in (asked if isinstance(asked, list) else [asked])
        if isinstance(order, dict)
    )


def _parse_order_summary(asked: dict[str, Any]) -> OrderSummary:
    order = asked.get("order")
    signed = order if isinstance(order, dict) else {}
    return OrderSummary(
        maker=str(signed.get("maker", "")),
        buys=signed.get("side") == "BUY",
        post_only=asked.get("postOnly") is True,
    )


def _may_take_liquidity(call: ClobRequest) -> bool:
    return call.places_orders and not all(order.post_only for order in call.orders)


def _post_only_refusal(left_ms: int) -> Refusal:
    seconds = _seconds(left_ms)
    body = {
        "error": rules.POST_ONLY_MODE,
        "code": "post_only_mode",
        "retry_after_seconds": int(seconds),
    }
    return Refusal(status=503, body=body, headers={"Retry-After": seconds})


def _ms(seconds: Decimal) -> int:
    return int(seconds * 1000)


def _seconds(ms: int) -> str:
    """Whole seconds, rounded up: who waits so long is not refused again."""
    return str((Decimal(ms) / 1000).to_integral_value(ROUND_CEILING))
