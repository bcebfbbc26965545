"""Books and markets of the venue, from REST replies and frames of the market channel. Pure.

Shapes: docs/venue-protocol.md, Market data and Market channel.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from shared.domain.books import Level, best_first
from shared.domain.errors import InvalidMessage
from shared.domain.money import BASE_UNIT, Side, floor_micros
from shared.domain.outcomes import OutcomeToken
from shared.polymarket.token_ids import MAX_OUTCOME, parse_token_id, printable

KEEP_ALIVE = frozenset({"", "PONG"})
TICKS = frozenset(map(Decimal, ("0.1", "0.01", "0.005", "0.0025", "0.001", "0.0001")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """The trading rules of a token's market."""

    condition_id: str
    tick_size: Decimal
    min_order_shares: int
    """Smallest resting size, micro-shares."""
    neg_risk: bool
    fee_rate: Decimal
    """Taker fee = shares x rate x price x (1 - price), in USDC."""
    tokens: tuple[OutcomeToken, ...] = ()

    def find_complement(self, token_id: str) -> OutcomeToken | None:
        """The token of the other outcome. None: the market is not binary."""
        others = [token for token in self.tokens if token.token_id != token_id]
        return others[0] if len(others) == 1 and len(self.tokens) == 2 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BookSnapshot:
    """All levels of a token's book, best first."""

    token_id: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    tick_size: Decimal | None = None
    """None: the venue did not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BestPrices:
    """The best bid and ask that the venue names beside a change; None: that side is empty."""

    bid: Decimal | None
    ask: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelChanged:
    """The new size at one level; 0 removes the level."""

    token_id: str
    side: Side
    """BUY: a bid. SELL: an ask."""
    price: Decimal
    shares: int
    best: BestPrices | None = None
    """After all changes of the frame. None: the venue did not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickChanged:
    """The tick size changed: the book is unknown until the next snapshot, and the market's rules
    have to be fetched again.
    """

    token_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventUnreadable:
    """An event about a token could not be read: its book is unknown until the next snapshot."""

    token_id: str
    reason: str


BookEvent = BookSnapshot | LevelChanged | TickChanged | EventUnreadable


@dataclass(slots=True)
class LiveBook:
    """A token's book, kept from the events of the market channel; unknown before a snapshot."""

    _shares: dict[Side, dict[Decimal, int]] = field(default_factory=dict)
    _sorted: dict[Side, tuple[Level, ...]] = field(default_factory=dict)
    """Cached until the book changes: one leader's trade reads it once per follower."""
    tick_size: Decimal | None = None
    """As of the last snapshot. None: unknown, or the venue did not say."""

    @property
    def is_known(self) -> bool:
        return bool(self._shares)

    def has_best(self, best: BestPrices) -> bool:
        """Whether the best levels are these; an unknown book has none to differ."""
        if not self._shares:
            return True
        return (
            max(self._shares[Side.BUY], default=None) == best.bid
            and min(self._shares[Side.SELL], default=None) == best.ask
        )

    def apply(self, event: BookEvent) -> None:
        self._sorted = {}
        match event:
            case BookSnapshot():
                self._shares = {Side.BUY: _by_price(event.bids), Side.SELL: _by_price(event.asks)}
                self.tick_size = event.tick_size
            case LevelChanged():
                if self._shares:
                    self._shares[event.side][event.price] = event.shares
                    if event.shares == 0:
                        del self._shares[event.side][event.price]
            case TickChanged() | EventUnreadable():
                self.forget()

    def forget(self) -> None:
        """Be unknown until the next snapshot."""
        self._shares, self._sorted, self.tick_size = {}, {}, None

    def bids(self) -> tuple[Level, ...]:
        return self._levels(Side.BUY, taken_by=Side.SELL)

    def asks(self) -> tuple[Level, ...]:
        return self._levels(Side.SELL, taken_by=Side.BUY)

    def _levels(self, side: Side, *, taken_by: Side) -> tuple[Level, ...]:
        if side not in self._sorted:
            levels = (Level(price, shares) for price, shares in self._shares.get(side, {}).items())
            self._sorted[side] = best_first(taken_by, levels)
        return self._sorted[side]


def parse_book(reply: Mapping[str, Any]) -> BookSnapshot:
    """Parse a reply of ``/book`` or a ``book`` event. Raises: InvalidMessage."""
    return BookSnapshot(
        token_id=_parse_text(reply, "asset_id"),
        bids=best_first(Side.SELL, map(_parse_level, _parse_list(reply, "bids"))),
        asks=best_first(Side.BUY, map(_parse_level, _parse_list(reply, "asks"))),
        tick_size=_parse_tick(reply, "tick_size") if reply.get("tick_size") else None,
    )


def parse_market(token_id: str, reply: Mapping[str, Any], *, condition_id: str) -> Market:
    """Parse a reply of ``/clob-markets/{condition}``.

    Raises: InvalidMessage, also where the market does not list the token, or any that is none.
    """
    tokens = tuple(map(_parse_token, _parse_list(reply, "t")))
    if token_id not in [token.token_id for token in tokens]:
        raise InvalidMessage(f"market {condition_id} does not list the token")
    fee = reply.get("fd")
    fee_rate = _parse_decimal(fee, "r") if isinstance(fee, dict) else Decimal(0)
    if not 0 <= fee_rate < 1:
        raise InvalidMessage(f"fd.r: {fee_rate} is not a fee rate")
    return Market(
        condition_id=condition_id,
        tick_size=_parse_tick(reply, "mts"),
        min_order_shares=_parse_shares(reply, "mos"),
        neg_risk=bool(reply.get("nr")),
        fee_rate=fee_rate,
        tokens=tokens,
    )


def _parse_token(token: Any) -> OutcomeToken:
    if not isinstance(token, dict):
        raise InvalidMessage(f"t: must list objects, got {type(token).__name__}")
    return OutcomeToken(
        token_id=parse_token_id(token.get("t"), name="t"),
        outcome=printable(token.get("o"), MAX_OUTCOME),
    )


def parse_price(reply: Mapping[str, Any], name: str) -> Decimal:
    """Parse the price of that name in a reply of ``/midpoint`` or ``/last-trade-price``.

    Raises: InvalidMessage.
    """
    price = _parse_decimal(reply, name)
    if not BASE_UNIT <= price < 1:
        raise InvalidMessage(f"{name}: {price} is not between 0 and 1")
    return price.normalize()


def is_text(frame: str) -> bool:
    """Whether the frame is a sentence of the venue, such as ``INVALID OPERATION``, and no event: it
    can have changed no book.
    """
    return frame not in KEEP_ALIVE and not frame.lstrip().startswith(("{", "["))


def parse_events(frame: str) -> Iterator[BookEvent]:
    """Yield the book events of a frame of the market channel; none for a keep-alive, a text, or for
    events of other types.

    Raises: InvalidMessage where the frame, or an event that does not name its token, cannot be
    read.
    """
    if frame in KEEP_ALIVE or is_text(frame):
        return
    try:
        parsed = json.loads(frame, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        # ArithmeticError: an absurd number; RecursionError: absurdly deep nesting.
        raise InvalidMessage(f"not JSON: {error}") from None
    for event in parsed if isinstance(parsed, list) else [parsed]:
        if not isinstance(event, dict):
            raise InvalidMessage(f"an event must be an object, not {type(event).__name__}")
        yield from _parse_book_events(event)


def _parse_book_events(event: Mapping[str, Any]) -> Iterator[BookEvent]:
    match event.get("event_type"):
        case "book":
            yield _parse_or_unreadable(event, parse_book)
        case "price_change":
            for change in _parse_list(event, "price_changes"):
                yield _parse_or_unreadable(change, _parse_level_changed)
        case "tick_size_change":
            yield TickChanged(token_id=_parse_text(event, "asset_id"))
        case _:
            return


def _parse_or_unreadable(source: Any, parse: Callable[[Any], BookEvent]) -> BookEvent:
    """Raises: InvalidMessage where the source does not name its token."""
    if not isinstance(source, dict):
        raise InvalidMessage("price_changes: an entry must be an object")
    token_id = _parse_text(source, "asset_id")
    try:
        return parse(source)
    except InvalidMessage as error:
        return EventUnreadable(token_id=token_id, reason=str(error))


def _parse_level_changed(change: Mapping[str, Any]) -> LevelChanged:
    try:
        side = Side(_parse_text(change, "side"))
    except ValueError:
        raise InvalidMessage(f"side: must be BUY or SELL, got {change['side']!r}") from None
    level = _parse_level(change)
    return LevelChanged(
        token_id=_parse_text(change, "asset_id"),
        side=side,
        price=level.price,
        shares=level.shares,
        best=_parse_best(change),
    )


def _parse_best(change: Mapping[str, Any]) -> BestPrices | None:
    """A side without levels is named by a price outside of the grid: a bid of 0, an ask of 1 or 0
    (assumed).
    """
    if change.get("best_bid") in (None, "") or change.get("best_ask") in (None, ""):
        return None
    bid, ask = _parse_decimal(change, "best_bid"), _parse_decimal(change, "best_ask")
    return BestPrices(bid=bid if 0 < bid < 1 else None, ask=ask if 0 < ask < 1 else None)


def _parse_tick(source: Mapping[str, Any], name: str) -> Decimal:
    tick = _parse_decimal(source, name)
    if tick not in TICKS:
        raise InvalidMessage(f"{name}: {tick} is not a tick size of the venue")
    return tick


def _by_price(levels: tuple[Level, ...]) -> dict[Decimal, int]:
    return {level.price: level.shares for level in levels}


def _parse_level(level: Any) -> Level:
    if not isinstance(level, dict):
        raise InvalidMessage("a level must be an object")
    price = _parse_decimal(level, "price")
    if not BASE_UNIT <= price < 1:
        raise InvalidMessage(f"price: {price} is not between 0 and 1")
    return Level(price.normalize(), _parse_shares(level, "size"))


def _parse_shares(source: Mapping[str, Any], name: str) -> int:
    """Micro-shares, rounded down."""
    size = _parse_decimal(source, name)
    if not 0 <= size < 10**12:
        raise InvalidMessage(f"{name}: {size} is not a number of shares")
    return floor_micros(size)


def _parse_list(source: Mapping[str, Any], name: str) -> Sequence[Any]:
    """Empty where it is missing."""
    value = source.get(name) or ()
    if not isinstance(value, list | tuple):
        raise InvalidMessage(f"{name}: must be a list, got {type(value).__name__}")
    return value


def _parse_text(source: Mapping[str, Any], name: str) -> str:
    value = source.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidMessage(f"{name}: must be a non-empty string, got {type(value).__name__}")
    return value


def _parse_decimal(source: Mapping[str, Any], name: str) -> Decimal:
    try:
        number = Decimal(str(source.get(name)))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise InvalidMessage(f"{name}: must be a number, got {str(source.get(name))[:40]!r}")
    return number
