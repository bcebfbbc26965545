"""How does an API key place and cancel orders?"""

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
    """Orders, cancels, and the heartbeats that keep orders standing."""

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
        """Cancel the orders of keys that promised heartbeats and have fallen silent."""
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
        """A refused leg is told in its own row; the others stand."""
        credentials = await self._authenticator.authenticate_key(request)
        legs = parse_json(await request.read())
        if not isinstance(legs, list):
            raise BadRequest(rules.INVALID_PAYLOAD)
        self._charge(request, credentials, Bucket.ORDER, len(legs))
        if len(legs) > _MAX_BATCH:
            raise BadRequest(rules.too_many_orders(len(legs), _MAX_BATCH))
        rows: list[Json] = []
        for leg in legs:
            try:
                rows.append(await self._place(leg, credentials))
            except BadRequest as error:
                rows.append(_order_reply("", status="", error=error.text))
        return reply(rows)

    async def _place(self, payload: Any, credentials: Credentials) -> Json:
        """Raises: BadRequest, Transient."""
        ticket = parse_posted_order(payload, owner=credentials.key, address=credentials.address)
        maker = ticket.signed.maker
        strike = self._faults.trigger(Fault.ORDER_REFUSED, wallet=maker, signer=credentials.address)
        if strike is not None:
            raise BadRequest(strike.text, rules.http_status_for(strike.text))
        await self._venue.ensure_wallet_loaded(maker)
        refusal = rules.maker_refusal(
            ticket.signed, owner=self._venue.wallet_owner(maker), address=credentials.address
        )
        if refusal is not None:
            raise BadRequest(refusal)
        return self._submit(ticket)

    def _submit(self, ticket: PostedOrder) -> Json:
        result = self._venue.on_order(ticket, now_ms=self._now_ms())
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
        return reply(self._cancel([payload["orderID"]], credentials.key, now_ms=self._now_ms()))

    async def cancel_orders(self, request: web.Request) -> web.Response:
        credentials = await self._authenticator.authenticate_key(request)
        order_ids = parse_order_ids(parse_json(await request.read()))
        self._charge(request, credentials, Bucket.CANCEL, len(order_ids))
        if len(order_ids) > _MAX_CANCELS:
            raise BadRequest(rules.too_many_orders(len(order_ids), _MAX_CANCELS))
        return reply(self._cancel(order_ids, credentials.key, now_ms=self._now_ms()))

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
        """One token for the request, and one for each order that it turns out to cancel."""
        self._charge(request, credentials, Bucket.CANCEL, 1)
        now_ms = self._now_ms()
        asked = filter_orders(
            find_resting_orders(self._venue, credentials.key), market=market, asset_id=asset_id
        )
        cancelled = self._cancel(
            [resting.order.id for resting in asked], credentials.key, now_ms=now_ms
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
        """The first one arms it: from then on silence cancels every order of the key."""
        credentials = await self._authenticator.authenticate_key(request)
        heartbeat_id = _object(parse_json(await request.read())).get("heartbeat_id") or ""
        try:
            return reply(
                {
                    "heartbeat_id": self._heartbeats.record(
                        credentials.key, str(heartbeat_id), now_ms=self._now_ms()
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
