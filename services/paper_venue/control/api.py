"""``/control/*`` for worlds and trading: addresses, funded accounts, leader trades and counts."""

import asyncio
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from services.paper_venue.chain.wallets import PaperWallet, WalletKind
from services.paper_venue.exchange.formatting import amount_text, price_text
from services.paper_venue.exchange.matching import Fill
from services.paper_venue.exchange.orders import Market, Side
from services.paper_venue.http.auth import ApiKeyStore
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.requests import BadRequest, parse_json
from services.paper_venue.http.responses import reply
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.world.follower_accounts import FollowerAccounts
from services.paper_venue.world.leader_strategies import TradeRequest
from services.paper_venue.world.simulated_traders import Leaders, NoTrade

_MICRO = 1_000_000


class ControlApi:
    """Shows the world, creates accounts, and lets leaders trade. Every amount is decimal text."""

    def __init__(
        self,
        venue: Venue,
        leaders: Leaders,
        followers: FollowerAccounts,
        keys: ApiKeyStore,
        facts: Callable[[], Json],
    ) -> None:
        self._venue = venue
        self._leaders = leaders
        self._followers = followers
        self._keys = keys
        self._facts = facts
        self._trading: asyncio.Task[None] | None = None

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/control/world", self.world),
            web.get("/control/stats", self.stats),
            web.post("/control/accounts", self.accounts),
            web.post("/control/leaders/start", self.start_leaders),
            web.post("/control/leaders/stop", self.stop_leaders),
            web.post("/control/leader-trade", self.leader_trade),
        ]

    async def world(self, _: web.Request) -> web.Response:
        return reply(
            self._facts()
            | {
                "markets": [_market(market) for market in self._venue.engine.markets],
                "leaders": [trader.address for trader in self._leaders.traders],
            }
        )

    async def stats(self, _: web.Request) -> web.Response:
        names = (
            "accepted",
            "matched",
            "killed",
            "rejected",
            "settled",
            "failed",
            "leader_trades",
            "house_matched",
            "leader_merges",
        )
        return reply(
            {name: self._venue.stats[name] for name in names}
            | {"refusals": dict(self._venue.refusals), "trading": self._is_trading()}
        )

    async def accounts(self, request: web.Request) -> web.Response:
        body = await _parse_body(request)
        kind, count, with_keys = (
            body.get("kind"),
            body.get("count", 1),
            body.get("api_keys", False),
        )
        if kind not in tuple(WalletKind) or not isinstance(count, int) or not 1 <= count <= 1_000:
            raise BadRequest(f"kind must be one of {', '.join(WalletKind)}, count from 1 to 1000")
        if not isinstance(with_keys, bool):
            raise BadRequest("api_keys must be true or false")
        wallets = await self._followers.create(kind, count, _parse_micros(body.get("usdc", "1000")))
        return reply(
            [
                _account(wallet, kind) | (self._api_key(wallet) if with_keys else {})
                for wallet in wallets
            ]
        )

    async def start_leaders(self, request: web.Request) -> web.Response:
        body = await _parse_body(request)
        trades, rate = body.get("trades"), _parse_decimal(body.get("per_second", "2"))
        if not isinstance(trades, int) or trades < 1 or rate <= 0:
            raise BadRequest("trades must be a whole number above 0, per_second above 0")
        if self._is_trading():
            raise BadRequest("the leaders are trading already", 409)
        self.start(trades=trades, per_second=rate)
        return reply({"trading": True})

    async def stop_leaders(self, _: web.Request) -> web.Response:
        await self.stop()
        return reply({"trading": False})

    async def leader_trade(self, request: web.Request) -> web.Response:
        body = await _parse_body(request)
        try:
            accepted, trade = self._leaders.trade(self._parse_trade_request(body))
        except NoTrade as error:
            raise BadRequest(str(error), 409) from error
        match = accepted.match
        return reply(
            {
                "transaction_hash": trade.transaction_hash,
                "trade_id": trade.id,
                "leader": accepted.order.maker,
                "shares": amount_text(match.shares),
                "usdc": amount_text(match.collateral),
                "fee": amount_text(trade.fee),
                "fills": [_fill(fill) for fill in match.fills],
            }
        )

    def start(self, *, trades: int, per_second: Decimal) -> None:
        self._trading = asyncio.create_task(
            self._leaders.run(trades=trades, interval_s=float(1 / per_second))
        )

    async def stop(self) -> None:
        if self._trading is not None:
            self._trading.cancel()
            await asyncio.gather(self._trading, return_exceptions=True)

    def _api_key(self, wallet: PaperWallet) -> Json:
        """The API key that the owner would derive with nonce 0."""
        derived = self._keys.derive(wallet.owner, 0)
        return {
            "api_key": {
                "apiKey": derived.key,
                "secret": derived.secret,
                "passphrase": derived.passphrase,
            }
        }

    def _is_trading(self) -> bool:
        """Whether the leaders are trading. Raises the error that ended their trading, if any."""
        if self._trading is None or self._trading.cancelled():
            return False
        if self._trading.done():
            self._trading.result()
            return False
        return True

    def _parse_trade_request(self, body: Json) -> TradeRequest:
        """A SELL names its amount in shares (``shares``) or as their value at the best bid
        (``usdc``).
        """
        leaders = [trader.address.lower() for trader in self._leaders.traders]
        leader, token, side = (
            str(body.get("leader", leaders[0])).lower(),
            str(body.get("token")),
            body.get("side", "BUY"),
        )
        market = self._venue.engine.market_by_token.get(token)
        if leader not in leaders or market is None or side not in ("BUY", "SELL"):
            raise BadRequest(
                "leader, token and side must be a leader's address,"
                " a token of this venue, and BUY or SELL"
            )
        amount = (
            _parse_micros(body["shares"])
            if side == "SELL" and "shares" in body
            else self._parse_amount(market, token, side, body)
        )
        return TradeRequest(
            trader_index=leaders.index(leader),
            token_id=token,
            side=Side[side],
            amount=amount // 10_000 * 10_000,
        )

    def _parse_amount(self, market: Market, token: str, side: str, body: Json) -> int:
        usdc = _parse_micros(body.get("usdc"))
        if side == "BUY":
            return usdc
        best = self._venue.engine.books[market.condition_id].best_bid(market.outcome_index(token))
        if best is None:
            raise BadRequest("the book is empty", 409)
        return usdc * 10_000 // best


def _account(wallet: PaperWallet, kind: str) -> Json:
    return {
        "proxy": wallet.address,
        "signer": wallet.owner,
        "kind": kind,
        "private_key": wallet.key,
    }


def _market(market: Market) -> Json:
    return {
        "id": market.id,
        "condition_id": market.condition_id,
        "question": market.question,
        "slug": market.slug,
        "event_slug": market.event_slug,
        "token_ids": list(market.token_ids),
        "outcomes": list(market.outcomes),
        "tick_size": price_text(market.tick),
        "fee_rate": str(market.fee_rate),
        "version": market.version.value,
        "neg_risk": market.neg_risk,
    }


def _fill(fill: Fill) -> Json:
    return {
        "maker": fill.maker.maker,
        "token_id": fill.maker.token_id,
        "match": fill.kind.value,
        "price": price_text(fill.price),
        "shares": amount_text(fill.shares),
    }


async def _parse_body(request: web.Request) -> dict[str, Any]:
    raw = await request.read()
    body = parse_json(raw) if raw else {}
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


def _parse_decimal(value: Any) -> Decimal:
    """Parse decimal text or a whole number; a JSON fraction may already have been rounded.

    Raises: BadRequest.
    """
    try:
        number = Decimal(value) if isinstance(value, str | int) else Decimal("nan")
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise BadRequest('amounts and rates are decimal text, such as "12.50"')
    return number


def _parse_micros(value: Any) -> int:
    """Parse an amount into millionths. Raises: BadRequest."""
    micros = _parse_decimal(value) * _MICRO
    if micros != int(micros) or micros <= 0:
        raise BadRequest("an amount must be above 0 with at most six decimals")
    return int(micros)
