"""The private half of the CLOB: keys, orders, trades and balances of whoever asks."""

import base64
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from aiohttp import web

from services.paper_venue import frames
from services.paper_venue.auth import Credentials, Keys
from services.paper_venue.book import Resting
from services.paper_venue.engine import Accepted, Refused
from services.paper_venue.frames import Json
from services.paper_venue.handler import Ticket, Venue
from services.paper_venue.requests import BadRequest, parse_json, parse_ticket
from services.paper_venue.responses import reply
from services.paper_venue.trades import TradeFilter
from services.paper_venue.wire import amount_text

_PAGE = 500
_MAX_BATCH = 15
_END = "LTE="


class Trading:
    """Answers that need an API key."""

    def __init__(self, venue: Venue, keys: Keys, wallet_of: Callable[[str, int], str], now_ms: Callable[[], int]) -> None:
        self._venue = venue
        self._keys = keys
        self._wallet_of = wallet_of
        self._now_ms = now_ms

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/auth/api-key", self.create_key),
            web.get("/auth/derive-api-key", self.derive_key),
            web.get("/auth/api-keys", self.list_keys),
            web.delete("/auth/api-key", self.delete_key),
            web.get("/auth/ban-status/closed-only", self.closed_only),
            web.post("/order", self.post_order),
            web.post("/orders", self.post_orders),
            web.delete("/order", self.cancel_order),
            web.delete("/orders", self.cancel_orders),
            web.delete("/cancel-all", self.cancel_all),
            web.delete("/cancel-market-orders", self.cancel_market_orders),
            web.get("/data/order/{order_id}", self.open_order),
            web.get("/data/orders", self.open_orders),
            web.get("/data/trades", self.trades),
            web.get("/balance-allowance", self.balance_allowance),
            web.get("/balance-allowance/update", self.update_balance_allowance),
        ]

    async def create_key(self, request: web.Request) -> web.Response:
        credentials = self._keys.create(*self._keys.check_l1(request.headers))
        if credentials is None:
            raise BadRequest("Could not create api key")
        return reply(_secrets(credentials))

    async def derive_key(self, request: web.Request) -> web.Response:
        return reply(_secrets(self._keys.derive(*self._keys.check_l1(request.headers))))

    async def list_keys(self, request: web.Request) -> web.Response:
        credentials = await self._asker(request)
        return reply({"apiKeys": self._keys.of(credentials.address)})

    async def delete_key(self, request: web.Request) -> web.Response:
        self._keys.revoke(await self._asker(request))
        return reply("OK")

    async def closed_only(self, request: web.Request) -> web.Response:
        await self._asker(request)
        return reply({"closed_only": False})

    async def post_order(self, request: web.Request) -> web.Response:
        credentials = await self._asker(request)
        ticket = parse_ticket(parse_json(await request.read()), owner=credentials.key, address=credentials.address)
        return reply(await self._place(ticket))

    async def post_orders(self, request: web.Request) -> web.Response:
        """A refused leg is told in its own row; the others stand."""
        credentials = await self._asker(request)
        legs = parse_json(await request.read())
        if not isinstance(legs, list):
            raise BadRequest("Invalid order payload")
        if len(legs) > _MAX_BATCH:
            raise BadRequest(f"Too many orders in payload: {len(legs)}, max allowed: {_MAX_BATCH}")
        rows: list[Json] = []
        for leg in legs:
            try:
                rows.append(await self._place(parse_ticket(leg, owner=credentials.key, address=credentials.address)))
            except BadRequest as error:
                rows.append(_placed("", status="", error=error.text))
        return reply(rows)

    async def _place(self, ticket: Ticket) -> Json:
        await self._venue.know(ticket.signed.maker)
        result = self._venue.on_order(ticket, now_ms=self._now_ms())
        if isinstance(result, str):
            raise BadRequest(result)
        if isinstance(result, Refused):
            raise BadRequest(result.text)
        accepted, trade = result
        return _placed(accepted.order.id, status=_status(accepted), accepted=accepted, trade_ids=[trade.id] if trade else [])

    async def cancel_order(self, request: web.Request) -> web.Response:
        credentials = await self._asker(request)
        payload = parse_json(await request.read())
        if not isinstance(payload, dict) or "orderID" not in payload:
            raise BadRequest("Invalid order payload")
        return reply(self._cancel([str(payload["orderID"])], credentials))

    async def cancel_orders(self, request: web.Request) -> web.Response:
        credentials = await self._asker(request)
        payload = parse_json(await request.read())
        if not isinstance(payload, list):
            raise BadRequest("Invalid order payload")
        return reply(self._cancel([str(order_id) for order_id in payload], credentials))

    async def cancel_all(self, request: web.Request) -> web.Response:
        credentials = await self._asker(request)
        return reply(self._cancel([resting.order.id for resting in self._of(credentials)], credentials))

    async def cancel_market_orders(self, request: web.Request) -> web.Response:
        credentials = await self._asker(request)
        payload = parse_json(await request.read())
        if not isinstance(payload, dict):
            raise BadRequest("Invalid order payload")
        asked = _matching(self._of(credentials), market=payload.get("market"), asset_id=payload.get("asset_id"))
        return reply(self._cancel([resting.order.id for resting in asked], credentials))

    async def open_order(self, request: web.Request) -> web.Response:
        credentials = await self._asker(request)
        resting = self._venue.engine.resting.get(request.match_info["order_id"])
        if resting is None or resting.order.owner != credentials.key:
            return reply(None)
        return reply(frames.open_order(resting, trade_ids=self._venue.announcer.trades.ids_of(resting.order.id)))

    async def open_orders(self, request: web.Request) -> web.Response:
        credentials = await self._asker(request)
        query = request.query
        found = _matching(self._of(credentials), market=query.get("market"), asset_id=query.get("asset_id"), order_id=query.get("id"))
        rows = (frames.open_order(resting, trade_ids=self._venue.announcer.trades.ids_of(resting.order.id)) for resting in found)
        return reply(_page(rows, query.get("next_cursor")))

    async def trades(self, request: web.Request) -> web.Response:
        credentials = await self._asker(request)
        found = self._venue.announcer.trades.of(credentials.key, _filter(request))
        rows = (frames.trade_row(trade, owner=credentials.key) for trade in found)
        return reply(_page(rows, request.query.get("next_cursor")))

    async def balance_allowance(self, request: web.Request) -> web.Response:
        credentials = await self._asker(request)
        wallet = self._wallet(request, credentials)
        await self._venue.know(wallet)
        account = self._venue.engine.accounts.of(wallet)
        token_id = request.query.get("token_id", "") if request.query.get("asset_type", "").startswith("CONDITIONAL") else None
        return reply(frames.balance_allowance(account, token_id=token_id))

    async def update_balance_allowance(self, request: web.Request) -> web.Response:
        credentials = await self._asker(request)
        await self._venue.refresh(self._wallet(request, credentials))
        return reply("")

    def _wallet(self, request: web.Request, credentials: Credentials) -> str:
        try:
            signature_type = int(request.query.get("signature_type", "0"))
        except ValueError as error:
            raise BadRequest("Invalid signature type") from error
        return self._wallet_of(credentials.address, signature_type)

    async def _asker(self, request: web.Request) -> Credentials:
        return self._keys.check_l2(request.headers, method=request.method, path=request.path, body=await request.read())

    def _of(self, credentials: Credentials) -> list[Resting]:
        return [resting for resting in self._venue.engine.resting.values() if resting.order.owner == credentials.key]

    def _cancel(self, order_ids: Sequence[str], credentials: Credentials) -> Json:
        now_ms = self._now_ms()
        refusals = {order_id: self._venue.on_cancel(order_id, owner=credentials.key, now_ms=now_ms) for order_id in order_ids}
        return {
            "canceled": [order_id for order_id, reason in refusals.items() if reason is None],
            "not_canceled": {order_id: reason for order_id, reason in refusals.items() if reason is not None},
        }


def _secrets(credentials: Credentials) -> Json:
    return {"apiKey": credentials.key, "secret": credentials.secret, "passphrase": credentials.passphrase}


def _status(accepted: Accepted) -> str:
    return "matched" if accepted.match.fills else "live"


def _placed(order_id: str, *, status: str, accepted: Accepted | None = None, trade_ids: Sequence[str] = (), error: str = "") -> Json:
    matched = accepted is not None and bool(accepted.match.fills)
    return {
        "success": True,
        "errorMsg": error,
        "orderID": order_id,
        "status": status,
        "makingAmount": amount_text(accepted.match.given) if accepted and matched else "",
        "takingAmount": amount_text(accepted.match.gotten) if accepted and matched else "",
        "tradeIDs": list(trade_ids),
    }


def _matching(
    orders: Iterable[Resting], *, market: str | None = None, asset_id: str | None = None, order_id: str | None = None
) -> list[Resting]:
    return [
        resting
        for resting in orders
        if (not market or resting.order.market.condition_id == market)
        and (not asset_id or resting.order.token_id == asset_id)
        and (not order_id or resting.order.id == order_id)
    ]


def _filter(request: web.Request) -> TradeFilter:
    query = request.query
    try:
        after, before = (int(query[name]) if query.get(name) else None for name in ("after", "before"))
    except ValueError as error:
        raise BadRequest("Invalid filter") from error
    return TradeFilter(
        id=query.get("id") or None,
        market=query.get("market") or None,
        asset_id=query.get("asset_id") or None,
        maker_address=query.get("maker_address") or None,
        after=after,
        before=before,
    )


def _page(rows: Iterable[Json], cursor: str | None) -> Json:
    """One page of a list. A cursor is the base64 of an offset: ``MA==`` is the start, ``LTE=`` (-1) the end."""
    offset = _offset(cursor)
    page = list(islice(rows, offset, offset + _PAGE + 1))
    following = base64.b64encode(str(offset + _PAGE).encode()).decode() if len(page) > _PAGE else _END
    return {"data": page[:_PAGE], "next_cursor": following, "limit": _PAGE, "count": len(page[:_PAGE])}


def _offset(cursor: str | None) -> int:
    try:
        offset = int(base64.b64decode(cursor or "MA==", validate=True))
    except ValueError as error:
        raise BadRequest("Invalid cursor") from error
    return offset if offset >= 0 else 1 << 62
