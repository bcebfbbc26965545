"""What an API key reads of its own: open orders, trades and balances."""

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from services.paper_venue.clob.authenticator import Authenticator
from services.paper_venue.clob.pagination import build_page
from services.paper_venue.clob.rate_limits import RateLimits
from services.paper_venue.clob.replicas import OpenOrder, Replicas
from services.paper_venue.exchange.book import RestingOrder
from services.paper_venue.exchange.trades import TradeFilter
from services.paper_venue.http import payloads
from services.paper_venue.http.auth import Credentials
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.requests import BadRequest
from services.paper_venue.http.responses import reply
from services.paper_venue.lifecycle.venue import Venue
from shared.chain.addresses import EXCHANGE_V2, EXCHANGE_V3, NEG_RISK_EXCHANGE_V2

_PAGE_SIZE = 500
_SPENDERS = {
    "COLLATERAL": (EXCHANGE_V2, NEG_RISK_EXCHANGE_V2, EXCHANGE_V3),
    "CONDITIONAL": (EXCHANGE_V2, NEG_RISK_EXCHANGE_V2),
    "CONDITIONAL-V2": (EXCHANGE_V3,),
}
"""The exchanges that may have to take an asset of each type; the first one's allowance is also a
field of its own, for older clients."""


class OwnOrders:
    """The reads that need an API key and return what belongs to it."""

    def __init__(
        self,
        venue: Venue,
        authenticator: Authenticator,
        replicas: Replicas,
        wallet_for: Callable[[str, int], Awaitable[str]],
        limits: RateLimits,
    ) -> None:
        self._venue = venue
        self._authenticator = authenticator
        self._replicas = replicas
        self._wallet_for = wallet_for
        self._limits = limits

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/data/order/{order_id}", self.open_order),
            web.get("/data/orders", self.open_orders),
            web.get("/data/pre-migration-orders", self.pre_migration_orders),
            web.get("/data/trades", self.trades),
            web.get("/balance-allowance", self.balance_allowance),
            web.get("/balance-allowance/update", self.update_balance_allowance),
            web.get("/v1/user/rate-limit-tier", self.rate_limit_tier),
        ]

    async def open_order(self, request: web.Request) -> web.Response:
        """null for an order that is not open: filled, killed, cancelled, unknown, or of another
        key.
        """
        credentials = await self._authenticator.authenticate_key(request)
        rows = self._rows(credentials, order_id=request.match_info["order_id"])
        return reply(rows[0] if rows else None)

    async def open_orders(self, request: web.Request) -> web.Response:
        credentials = await self._authenticator.authenticate_key(request)
        query = request.query
        rows = self._rows(
            credentials,
            market=query.get("market"),
            asset_id=query.get("asset_id"),
            order_id=query.get("id"),
        )
        return reply(build_page(rows, query.get("next_cursor"), limit=_PAGE_SIZE))

    async def pre_migration_orders(self, request: web.Request) -> web.Response:
        """Orders from before 2026-04-28: always empty here."""
        await self._authenticator.authenticate_key(request)
        return reply(build_page([], request.query.get("next_cursor"), limit=_PAGE_SIZE))

    async def trades(self, request: web.Request) -> web.Response:
        credentials = await self._authenticator.authenticate_key(request)
        trade_filter = _parse_trade_filter(request)
        moment_ms = self._replicas.as_of_ms(
            wallet=trade_filter.maker_address, signer=credentials.address
        )
        trades = self._venue.publisher.trades.find(
            credentials.account, trade_filter, moment_ms=moment_ms
        )
        rows = (payloads.trade_row(trade, owner=credentials.account) for trade in trades)
        return reply(build_page(rows, request.query.get("next_cursor"), limit=_PAGE_SIZE))

    async def balance_allowance(self, request: web.Request) -> web.Response:
        credentials = await self._authenticator.authenticate_key(request)
        asset_type = request.query.get("asset_type", "")
        if asset_type not in _SPENDERS:
            raise BadRequest("Invalid asset type")
        token_id = None if asset_type == "COLLATERAL" else request.query.get("token_id", "")
        wallet = await self._wallet(request, credentials)
        await self._venue.ensure_wallet_loaded(wallet)
        account = self._replicas.account(
            wallet, self._replicas.as_of_ms(wallet=wallet, signer=credentials.address)
        )
        balance = payloads.balance_allowance(account, token_id=token_id)
        allowances = {
            spender: balance["allowances"].get(spender, "0") for spender in _SPENDERS[asset_type]
        }
        return reply(
            {
                "balance": balance["balance"],
                "allowances": allowances,
                "allowance": next(iter(allowances.values())),
            }
        )

    async def update_balance_allowance(self, request: web.Request) -> web.Response:
        """Read the chain again for the wallet of this key and the requested signature type."""
        credentials = await self._authenticator.authenticate_key(request)
        await self._venue.refresh_wallet(await self._wallet(request, credentials))
        return reply("")

    async def rate_limit_tier(self, request: web.Request) -> web.Response:
        await self._authenticator.authenticate_key(request)
        return reply({"tier": self._limits.tier.name})

    def _rows(self, credentials: Credentials, **filters: str | None) -> list[Json]:
        """The key's resting and held orders that match the filters."""
        moment_ms = self._replicas.as_of_ms(wallet=None, signer=credentials.address)
        open_orders = {
            open_order.resting.order.id: open_order
            for open_order in self._replicas.orders(credentials.account, moment_ms)
        }
        matching = filter_orders((each.resting for each in open_orders.values()), **filters)
        return [_row(open_orders[resting.order.id]) for resting in matching]

    async def _wallet(self, request: web.Request, credentials: Credentials) -> str:
        try:
            signature_type = int(request.query.get("signature_type", "0"))
        except ValueError as error:
            raise BadRequest("Invalid signature type") from error
        return await self._wallet_for(credentials.address, signature_type)


def _row(open_order: OpenOrder) -> Json:
    return payloads.open_order(
        open_order.resting, trade_ids=open_order.trade_ids, status=open_order.status
    )


def find_resting_orders(venue: Venue, key: str) -> list[RestingOrder]:
    """An API key's resting orders, oldest first."""
    return [resting for resting in venue.engine.resting.values() if resting.order.owner == key]


def filter_orders(
    orders: Iterable[RestingOrder],
    *,
    market: str | None = None,
    asset_id: str | None = None,
    order_id: str | None = None,
) -> list[RestingOrder]:
    """The orders that match every filter; an empty filter matches all."""
    return [
        resting
        for resting in orders
        if (not market or resting.order.market.condition_id == market)
        and (not asset_id or resting.order.token_id == asset_id)
        and (not order_id or resting.order.id == order_id)
    ]


def _parse_trade_filter(request: web.Request) -> TradeFilter:
    """Raises: BadRequest."""
    query = request.query
    try:
        after, before = (
            int(query[name]) if query.get(name) else None for name in ("after", "before")
        )
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
