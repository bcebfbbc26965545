"""What do the venue's own traders do: the market makers that keep the books deep, and the leaders?

They trade like everybody: signed orders through the same engine, settled on the same chain.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from coincurve import PrivateKey

from services.paper_venue.auth import Keys
from services.paper_venue.engine import Accepted
from services.paper_venue.generator import LeaderTape, Quote, Wish
from services.paper_venue.handler import Ticket, Venue
from services.paper_venue.orders import PRICE_ONE, Market, OrderKind, Side
from services.paper_venue.trades import Trade
from shared.chain.addresses import EXCHANGE_V2
from shared.chain.orders import EOA, SignedOrder, order_hash

_ZERO = "0x" + "00" * 32
_SLIP_TICKS = 4
"""How far through the best price a leader's order may go."""
_FOUR_DECIMALS = 100


class NoTrade(Exception):
    """A leader's order met nothing, or was refused; the text says why."""


@dataclass(slots=True)
class HouseTrader:
    """A wallet of the venue's own, signing for itself. Salts count up from the start time, so that no restart repeats an order."""

    address: str
    key: str = field(repr=False)
    api_key: str
    next_salt: int

    def ticket(self, *, token_id: str, side: Side, kind: OrderKind, maker_amount: int, taker_amount: int, now_ms: int) -> Ticket:
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
        return Ticket(signed=_signed(unsigned, self.key), kind=kind, owner=self.api_key)


def _signed(order: SignedOrder, key: str) -> SignedOrder:
    digest = bytes.fromhex(order_hash(order, EXCHANGE_V2, "2")[2:])
    raw = PrivateKey.from_hex(key.removeprefix("0x")).sign_recoverable(digest, hasher=None)
    signature = "0x" + raw[:64].hex() + f"{raw[64] + 27:02x}"
    return SignedOrder(**{name: getattr(order, name) for name in order.__slots__ if name != "signature"}, signature=signature)


def new_trader(address: str, key: str, keys: Keys, *, now_ms: int) -> HouseTrader:
    return HouseTrader(address, key, keys.derive(address, 0).key, now_ms * 1_000)


class MarketMakers:
    """Keep every quote at least half full."""

    def __init__(self, venue: Venue, makers: Sequence[HouseTrader], quotes: Sequence[tuple[Market, Quote]]) -> None:
        self._venue = venue
        self._makers = makers
        self._quotes = quotes
        self._standing: dict[int, str] = {}

    def refill(self, *, now_ms: int) -> None:
        for index, (market, quote) in enumerate(self._quotes):
            resting = self._venue.engine.resting.get(self._standing.get(index, ""))
            if resting is None or resting.remaining * 2 < quote.shares:
                self._standing[index] = self._place(market, quote, now_ms=now_ms)

    def _place(self, market: Market, quote: Quote, *, now_ms: int) -> str:
        collateral = quote.shares * quote.price // PRICE_ONE
        maker, taker = (collateral, quote.shares) if quote.side is Side.BUY else (quote.shares, collateral)
        ticket = self._makers[quote.maker].ticket(
            token_id=market.token_ids[quote.outcome],
            side=quote.side,
            kind=OrderKind.GTC,
            maker_amount=maker,
            taker_amount=taker,
            now_ms=now_ms,
        )
        result = self._venue.on_order(ticket, now_ms=now_ms)
        if not isinstance(result, tuple):
            raise RuntimeError(f"a market maker's quote was refused: {result if isinstance(result, str) else result.text}")
        return result[0].order.id


class Leaders:
    """Trade by the tape when started, or one trade on demand."""

    def __init__(self, venue: Venue, leaders: Sequence[HouseTrader], tape: LeaderTape, now_ms: Callable[[], int]) -> None:
        self.traders = leaders
        self._venue = venue
        self._tape = tape
        self._now_ms = now_ms

    def trade(self, wish: Wish) -> tuple[Accepted, Trade]:
        """Make one trade now. Raises: NoTrade."""
        now_ms = self._now_ms()
        result = self._venue.on_order(self._ticket(wish, now_ms=now_ms), now_ms=now_ms)
        if isinstance(result, str):
            raise NoTrade(result)
        if not isinstance(result, tuple):
            raise NoTrade(result.text)
        accepted, trade = result
        if trade is None:
            raise NoTrade("nothing matched")
        self._venue.stats["leader_trades"] += 1
        return accepted, trade

    async def run(self, *, trades: int, every_s: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Make ``trades`` trades; fewer only when cancelled. A wish that the market refuses is followed by the next."""
        made = 0
        while made < trades:
            try:
                self.trade(self._tape.next(self._holdings()))
            except NoTrade as error:
                self._venue.refusals[f"leader: {error}"] += 1
            else:
                made += 1
            await sleep(every_s)

    def _holdings(self) -> list[dict[str, int]]:
        return [self._venue.engine.accounts.of(trader.address).shares for trader in self.traders]

    def _ticket(self, wish: Wish, *, now_ms: int) -> Ticket:
        market = self._venue.engine.market_by_token[wish.token_id]
        price = self._limit(market, wish)
        if wish.side is Side.BUY:
            maker, taker = wish.amount, wish.amount * PRICE_ONE // price // _FOUR_DECIMALS * _FOUR_DECIMALS
        else:
            maker, taker = wish.amount, wish.amount * price // PRICE_ONE
        return self.traders[wish.leader].ticket(
            token_id=wish.token_id, side=wish.side, kind=OrderKind.FAK, maker_amount=maker, taker_amount=taker, now_ms=now_ms
        )

    def _limit(self, market: Market, wish: Wish) -> int:
        """The worst price that the leader takes. Raises: NoTrade."""
        book, outcome = self._venue.engine.books[market.condition_id], market.outcome_index(wish.token_id)
        best = book.best_ask(outcome) if wish.side is Side.BUY else book.best_bid(outcome)
        if best is None:
            raise NoTrade("the book is empty")
        slip = _SLIP_TICKS * market.tick
        return min(best + slip, PRICE_ONE - market.tick) if wish.side is Side.BUY else max(best - slip, market.tick)
