"""Places and cancels orders of an API key, and handles its heartbeats."""

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from services.paper_venue.clob.authenticator import Authenticator
from services.paper_venue.clob.heartbeats import Heartbeats, WrongHeartbeat
from services.paper_venue.clob.own_orders import filter_orders, find_resting_orders
from services.paper_venue.clob.rate_limits import Bucket, Charge, RateLimits
from services.paper_venue.clob.requests import parse_order_ids, parse_posted_order
from services.paper_venue.exchange import rules
from services.paper_venue.exchange.formatting import amount_text
from services.paper_venue.exchange.matching_engine import Accepted, Refused
from services.paper_venue.faults.catalogue import Fault, Faults
from services.paper_venue.http.auth import Credentials
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.requests import BadRequest, parse_json
from services.paper_venue.http.responses import reply, set_reply_headers
from services.paper_venue.lifecycle.venue import PostedOrder, Venue

_MAX_BATCH = 15
_MAX_CANCELS = 1_000


class Trading:
    """Orders, cancels, and the heartbeats that keep orders from being cancelled."""

    def __init__(
        self,
        venue: Venue,
        authenticator: Authenticator,
        limits: RateLimits,
        faults: Faults,
        now_ms: Callable[[], int],
    ) -> None:
        self._venue = venue
        self._authenticator = authenticator
        self._limits = limits
        self._faults = faults
        self._now_ms = now_ms
        self._heartbeats = Heartbeats()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/order", self.post_order),
            web.post("/orders", self.post_orders),
            web.delete("/order", self.cancel_order),
            web.delete("/orders", self.cancel_orders),
            web.delete("/cancel-all", self.cancel_all),
            web.delete("/cancel-market-orders", self.cancel_market_orders),
            web.post("/v1/heartbeats", self.heartbeat),
        ]

    def on_timer(self) -> None:
        """Cancel the orders of keys whose heartbeats have stopped."""
        now_ms = self._now_ms()
        for key in self._heartbeats.remove_silent(now_ms=now_ms):
            self._cancel(
                [resting.order.id for resting in find_resting_orders(self._venue, key)],
                key,
                now_ms=now_ms,
            )

    async def post_order(self, request: web.Request) -> web.Response:
        credentials = await self._authenticator.authenticate_key(request)
        self._charge(request, credentials, Bucket.ORDER, 1)
        return reply(await self._place(parse_json(await request.read()), credentials))

    async def post_orders(self, request: web.Request) -> web.Response:
        """A refused order has its error in its own row; the others are placed."""
        credentials = await self._authenticator.authenticate_key(request)
        orders = parse_json(await request.read())
        if not isinstance(orders, list):
            raise BadRequest(rules.INVALID_PAYLOAD)
        self._charge(request, credentials, Bucket.ORDER, len(orders))
        if len(orders) > _MAX_BATCH:
            raise BadRequest(rules.too_many_orders(len(orders), _MAX_BATCH))
        rows: list[Json] = []
        for order in orders:
            try:
                rows.append(await self._place(order, credentials))
            except BadRequest as error:
                rows.append(_order_reply("", status="", error=error.text))
        return reply(rows)

    async def _place(self, payload: Any, credentials: Credentials) -> Json:
        """Raises: BadRequest, Transient."""
        posted = parse_posted_order(payload, credentials)
        maker = posted.signed.maker
        options = self._faults.trigger(
            Fault.ORDER_REFUSED, wallet=maker, signer=credentials.address
        )
        if options is not None:
            raise BadRequest(options.text, rules.http_status_for(options.text))
        await self._venue.ensure_wallet_loaded(maker)
        refusal = rules.maker_refusal(
            posted.signed, owner=self._venue.wallet_owner(maker), address=credentials.address
        )
        if refusal is not None:
            raise BadRequest(refusal)
        return self._submit(posted)

    def _submit(self, posted: PostedOrder) -> Json:
        result = self._venue.on_order(posted, now_ms=self._now_ms())
        if isinstance(result, str):
            raise BadRequest(result)
        if isinstance(result, Refused):
            raise BadRequest(result.text)
        accepted, trade = result
        return _order_reply(
            accepted.order.id,
            status=accepted.status,
            accepted=accepted,
            trade_ids=[trade.id] if trade else [],
        )

    async def cancel_order(self, request: web.Request) -> web.Response:
        credentials = await self._authenticator.authenticate_key(request)
        self._charge(request, credentials, Bucket.CANCEL, 1)
        payload = _object(parse_json(await request.read()))
        if not isinstance(payload.get("orderID"), str):
            raise BadRequest(rules.INVALID_PAYLOAD)
        return reply(self._cancel([payload["orderID"]], credentials.account, now_ms=self._now_ms()))

    async def cancel_orders(self, request: web.Request) -> web.Response:
        credentials = await self._authenticator.authenticate_key(request)
        order_ids = parse_order_ids(parse_json(await request.read()))
        self._charge(request, credentials, Bucket.CANCEL, len(order_ids))
        if len(order_ids) > _MAX_CANCELS:
            raise BadRequest(rules.too_many_orders(len(order_ids), _MAX_CANCELS))
        return reply(self._cancel(order_ids, credentials.account, now_ms=self._now_ms()))

    async def cancel_all(self, request: web.Request) -> web.Response:
        credentials = await self._authenticator.authenticate_key(request)
        return self._cancel_matching(request, credentials)

    async def cancel_market_orders(self, request: web.Request) -> web.Response:
        credentials = await self._authenticator.authenticate_key(request)
        payload = _object(parse_json(await request.read()))
        return self._cancel_matching(
            request, credentials, market=payload.get("market"), asset_id=payload.get("asset_id")
        )

    def _cancel_matching(
        self,
        request: web.Request,
        credentials: Credentials,
        *,
        market: str | None = None,
        asset_id: str | None = None,
    ) -> web.Response:
        """Costs one token for the request, and one for each order that it cancels."""
        self._charge(request, credentials, Bucket.CANCEL, 1)
        now_ms = self._now_ms()
        matching = filter_orders(
            find_resting_orders(self._venue, credentials.account), market=market, asset_id=asset_id
        )
        cancelled = self._cancel(
            [resting.order.id for resting in matching], credentials.account, now_ms=now_ms
        )
        count = len(cancelled["canceled"])
        _set_rate_limit_headers(
            request,
            self._limits.charge_afterwards(
                credentials.address, Bucket.CANCEL, count, now_ms=now_ms
            ),
        )
        return reply(cancelled)

    def _cancel(self, order_ids: Sequence[str], key: str, *, now_ms: int) -> Json:
        refusals = {
            order_id: self._venue.on_cancel(order_id, owner=key, now_ms=now_ms)
            for order_id in order_ids
        }
        return {
            "canceled": [order_id for order_id, reason in refusals.items() if reason is None],
            "not_canceled": {
                order_id: reason for order_id, reason in refusals.items() if reason is not None
            },
        }

    async def heartbeat(self, request: web.Request) -> web.Response:
        """From the first one on, the key's orders are cancelled when its heartbeats stop."""
        credentials = await self._authenticator.authenticate_key(request)
        heartbeat_id = _object(parse_json(await request.read())).get("heartbeat_id") or ""
        try:
            return reply(
                {
                    "heartbeat_id": self._heartbeats.record(
                        credentials.account, str(heartbeat_id), now_ms=self._now_ms()
                    )
                }
            )
        except WrongHeartbeat as error:
            return reply({"error_msg": str(error), "heartbeat_id": error.expected}, 400)

    def _charge(
        self, request: web.Request, credentials: Credentials, bucket: Bucket, cost: int
    ) -> None:
        _set_rate_limit_headers(
            request, self._limits.charge(credentials.address, bucket, cost, now_ms=self._now_ms())
        )


def _set_rate_limit_headers(request: web.Request, charge: Charge) -> None:
    set_reply_headers(request, charge.headers())


def _object(payload: Any) -> dict[str, Any]:
    """Raises: BadRequest."""
    if not isinstance(payload, dict):
        raise BadRequest(rules.INVALID_PAYLOAD)
    return payload


def _order_reply(
    order_id: str,
    *,
    status: str,
    accepted: Accepted | None = None,
    trade_ids: Sequence[str] = (),
    error: str = "",
) -> Json:
    matched = accepted is not None and bool(accepted.match.fills)
    return {
        "success": True,
        "errorMsg": error,
        "orderID": order_id,
        "status": status,
        "makingAmount": amount_text(accepted.match.making_amount) if accepted and matched else "",
        "takingAmount": amount_text(accepted.match.taking_amount) if accepted and matched else "",
        "tradeIDs": list(trade_ids),
    }
