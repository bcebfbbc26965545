"""How does one of the venue's own wallets trade: what does it sign, and what becomes of it?"""

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
"""How far through the best price a market order may go."""
_FOUR_DECIMALS = 100


class NoTrade(Exception):
    """An order met nothing, or was refused; the text says why."""


@dataclass(slots=True)
class HouseTrader:
    """A wallet of the venue's own, signing for itself. Salts count up from the start time, so that
    no restart repeats an order.
    """

    address: str
    key: str = field(repr=False)
    api_key: str
    next_salt: int

    def ticket(
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
            signed=_signed(unsigned, market, self.key),
            kind=kind,
            owner=self.api_key,
            post_only=post_only,
        )


def _signed(order: SignedOrder, market: Market, key: str) -> SignedOrder:
    domain_version = "3" if market.version is MarketVersion.V2 else "2"
    digest = bytes.fromhex(order_hash(order, market.exchange, domain_version)[2:])
    raw = PrivateKey.from_hex(key.removeprefix("0x")).sign_recoverable(digest, hasher=None)
    return replace(order, signature="0x" + raw[:64].hex() + f"{raw[64] + 27:02x}")


def new_trader(address: str, key: str, keys: ApiKeyStore, *, now_ms: int) -> HouseTrader:
    return HouseTrader(address, key, keys.derive(address, 0).key, now_ms * 1_000)


def take(
    venue: Venue, trader: HouseTrader, *, token_id: str, side: Side, amount: int, now_ms: int
) -> tuple[Accepted, Trade]:
    """Trade at the market now, a few ticks through the best price at most.

    ``amount``: micro-USDC for a BUY, micro-shares for a SELL, both whole cents. Raises: NoTrade.
    """
    market = venue.engine.market_by_token[token_id]
    price = _limit(venue, market, token_id, side)
    taker_amount = _shares_for(amount, price) if side is Side.BUY else amount * price // PRICE_ONE
    ticket = trader.ticket(
        market,
        token_id=token_id,
        side=side,
        kind=OrderKind.FAK,
        maker_amount=amount,
        taker_amount=taker_amount,
        now_ms=now_ms,
    )
    result, trade = accepted(venue, ticket, now_ms=now_ms)
    if trade is None:
        raise NoTrade("nothing matched")
    return result, trade


def rest(
    venue: Venue,
    trader: HouseTrader,
    *,
    token_id: str,
    side: Side,
    price: int,
    shares: int,
    now_ms: int,
) -> str:
    """Let a post-only order stand in the book, and return its id; ``shares`` are whole shares'
    micro-shares. Raises: NoTrade.
    """
    collateral = shares * price // PRICE_ONE
    maker, taker = (collateral, shares) if side is Side.BUY else (shares, collateral)
    ticket = trader.ticket(
        venue.engine.market_by_token[token_id],
        token_id=token_id,
        side=side,
        kind=OrderKind.GTC,
        maker_amount=maker,
        taker_amount=taker,
        now_ms=now_ms,
        post_only=True,
    )
    return accepted(venue, ticket, now_ms=now_ms)[0].order.id


def accepted(venue: Venue, ticket: PostedOrder, *, now_ms: int) -> tuple[Accepted, Trade | None]:
    """Place it. Raises: NoTrade, with the venue's text, where it is refused."""
    result = venue.on_order(ticket, now_ms=now_ms)
    if isinstance(result, tuple):
        return result
    raise NoTrade(result if isinstance(result, str) else result.text)


def _shares_for(collateral: int, price: int) -> int:
    """What a market BUY asks for at least: to four decimals of a share, as the venue wants it."""
    return collateral * PRICE_ONE // price // _FOUR_DECIMALS * _FOUR_DECIMALS


def _limit(venue: Venue, market: Market, token_id: str, side: Side) -> int:
    """The worst price that the order takes. Raises: NoTrade."""
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
