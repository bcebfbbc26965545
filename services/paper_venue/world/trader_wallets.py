"""The wallets of the simulated traders: they sign orders and place them at the venue."""

from dataclasses import dataclass, field, replace

from coincurve import PrivateKey

from services.paper_venue.exchange.matching_engine import Accepted
from services.paper_venue.exchange.orders import PRICE_ONE, Market, MarketVersion, OrderKind, Side
from services.paper_venue.exchange.trades import Trade
from services.paper_venue.http.auth import ApiKeyStore
from services.paper_venue.lifecycle.venue import PostedOrder, Venue
from shared.chain.orders import EOA, SignedOrder, order_hash

_ZERO = "0x" + "00" * 32
_SLIP_TICKS = 4
"""How many ticks beyond the best price a market order may trade."""
_FOUR_DECIMALS = 100


class NoTrade(Exception):
    """An order matched nothing or was refused; the text says why."""


@dataclass(slots=True)
class TraderWallet:
    """A simulated trader's wallet, an EOA that signs for itself.

    Salts count up from the start time, so that no restart repeats an order.
    """

    address: str
    key: str = field(repr=False)
    api_key: str
    next_salt: int

    def build_ticket(
        self,
        market: Market,
        *,
        token_id: str,
        side: Side,
        kind: OrderKind,
        maker_amount: int,
        taker_amount: int,
        now_ms: int,
        post_only: bool = False,
    ) -> PostedOrder:
        self.next_salt += 1
        unsigned = SignedOrder(
            salt=self.next_salt,
            maker=self.address,
            signer=self.address,
            token_id=int(token_id),
            maker_amount=maker_amount,
            taker_amount=taker_amount,
            side=side,
            signature_type=EOA,
            timestamp=now_ms,
            metadata=_ZERO,
            builder=_ZERO,
            signature="",
        )
        return PostedOrder(
            signed=_sign(unsigned, market, self.key),
            kind=kind,
            owner=self.api_key,
            post_only=post_only,
        )


def _sign(order: SignedOrder, market: Market, key: str) -> SignedOrder:
    domain_version = "3" if market.version is MarketVersion.V2 else "2"
    digest = bytes.fromhex(order_hash(order, market.exchange, domain_version)[2:])
    raw = PrivateKey.from_hex(key.removeprefix("0x")).sign_recoverable(digest, hasher=None)
    return replace(order, signature="0x" + raw[:64].hex() + f"{raw[64] + 27:02x}")


def build_trader(address: str, key: str, keys: ApiKeyStore, *, now_ms: int) -> TraderWallet:
    return TraderWallet(address, key, keys.derive(address, 0).key, now_ms * 1_000)


def place_market_order(
    venue: Venue, trader: TraderWallet, *, token_id: str, side: Side, amount: int, now_ms: int
) -> tuple[Accepted, Trade]:
    """Place a FAK order that may trade a few ticks beyond the best price.

    ``amount``: micro-USDC for a BUY, micro-shares for a SELL; both multiples of 10,000.
    Raises: NoTrade.
    """
    market = venue.engine.market_by_token[token_id]
    price = _limit_price(venue, market, token_id, side)
    taker_amount = _min_shares(amount, price) if side is Side.BUY else amount * price // PRICE_ONE
    ticket = trader.build_ticket(
        market,
        token_id=token_id,
        side=side,
        kind=OrderKind.FAK,
        maker_amount=amount,
        taker_amount=taker_amount,
        now_ms=now_ms,
    )
    result, trade = place_order(venue, ticket, now_ms=now_ms)
    if trade is None:
        raise NoTrade("nothing matched")
    return result, trade


def place_resting_order(
    venue: Venue,
    trader: TraderWallet,
    *,
    token_id: str,
    side: Side,
    price: int,
    shares: int,
    now_ms: int,
) -> str:
    """Place a post-only GTC order and return its id. ``shares``: micro-shares (whole shares).
    Raises: NoTrade.
    """
    collateral = shares * price // PRICE_ONE
    maker, taker = (collateral, shares) if side is Side.BUY else (shares, collateral)
    ticket = trader.build_ticket(
        venue.engine.market_by_token[token_id],
        token_id=token_id,
        side=side,
        kind=OrderKind.GTC,
        maker_amount=maker,
        taker_amount=taker,
        now_ms=now_ms,
        post_only=True,
    )
    return place_order(venue, ticket, now_ms=now_ms)[0].order.id


def place_order(venue: Venue, ticket: PostedOrder, *, now_ms: int) -> tuple[Accepted, Trade | None]:
    """Place a signed order. Raises: NoTrade, with the venue's text, if it is refused."""
    result = venue.on_order(ticket, now_ms=now_ms)
    if isinstance(result, tuple):
        return result
    raise NoTrade(result if isinstance(result, str) else result.text)


def _min_shares(collateral: int, price: int) -> int:
    """The shares that a market BUY requires at least; the venue allows four decimals of a share."""
    return collateral * PRICE_ONE // price // _FOUR_DECIMALS * _FOUR_DECIMALS


def _limit_price(venue: Venue, market: Market, token_id: str, side: Side) -> int:
    """The worst price at which a market order may trade. Raises: NoTrade."""
    book, outcome = venue.engine.books[market.condition_id], market.outcome_index(token_id)
    best = book.best_ask(outcome) if side is Side.BUY else book.best_bid(outcome)
    if best is None:
        raise NoTrade("the book is empty")
    slip = _SLIP_TICKS * market.tick
    return (
        min(best + slip, PRICE_ONE - market.tick)
        if side is Side.BUY
        else max(best - slip, market.tick)
    )
