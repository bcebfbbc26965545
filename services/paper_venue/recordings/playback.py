"""What does a recording say happened: which markets, whose trades, and how did the books look?
Pure: entries in, steps out.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from services.paper_venue.exchange.orders import PRICE_ONE, Side
from services.paper_venue.recordings.recorder import tokens_of
from services.paper_venue.recordings.recording import Entry, RecordingError, Source
from services.paper_venue.world.quoting import Place

_MICRO = 1_000_000
_OTHER = {0: 1, 1: 0}


@dataclass(slots=True)
class RecordedMarket:
    """What the recording tells of a market, with the recorded tokens; ``condition_id`` to 62 hex
    digits.
    """

    condition_id: str
    tokens: dict[int, str] = field(default_factory=dict)
    """By outcome: 0 is YES."""
    outcomes: dict[int, str] = field(default_factory=dict)
    question: str = ""
    slug: str = ""
    event_slug: str = ""
    tick: int = 100
    fee_rate: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BookSet:
    """A market's whole book: micro-shares by place."""

    at: int
    condition_id: str
    levels: Mapping[Place, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelsSet:
    """New depths of some places, in micro-shares; 0: the level is gone."""

    at: int
    condition_id: str
    levels: Mapping[Place, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One row of a trade: what a wallet bought or sold. ``price`` in 1/10,000 USDC, to the nearest;
    ``shares`` in micro-shares.
    """

    wallet: str
    outcome: int
    side: Side
    price: int
    shares: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTrade:
    """One transaction's rows."""

    at: int
    condition_id: str
    transaction_hash: str
    taker: Part
    makers: tuple[Part, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self.taker, *self.makers)


Step = BookSet | LevelsSet | RecordedTrade


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """All that happens, in the order recorded."""

    markets: tuple[RecordedMarket, ...]
    wallets: tuple[str, ...]
    """Who trades, by their first trade."""
    steps: tuple[Step, ...]

    @property
    def trades(self) -> tuple[RecordedTrade, ...]:
        return tuple(step for step in self.steps if isinstance(step, RecordedTrade))


def play_of(entries: Sequence[Entry]) -> Play:
    """Raises: RecordingError, for a payload that cannot be meant."""
    try:
        return _play_of(entries)
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise RecordingError(
            f"the recording holds a payload of another shape than the venue's: {error!r}"
        ) from error


def _play_of(entries: Sequence[Entry]) -> Play:
    markets = _markets(entries)
    trades = list(_trades(entries, markets))
    steps: list[Step] = [*_book_steps(entries, markets), *trades]
    steps.sort(key=lambda step: step.at)  # stable: what was recorded first stays first
    wallets = dict.fromkeys(part.wallet for trade in trades for part in trade.parts)
    return Play(markets=tuple(markets.values()), wallets=tuple(wallets), steps=tuple(steps))


def _market_events(entry: Entry) -> list[Mapping[str, Any]]:
    """The events of a frame, which may be an array; a REST book is a book like any."""
    if entry.source is Source.BOOK:
        return [{"event_type": "book", **entry.payload}]
    if entry.source is not Source.MARKET:
        return []
    return entry.payload if isinstance(entry.payload, list) else [entry.payload]


def _rows(entries: Iterable[Entry]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Activity rows with their times. ``trades`` and ``orders_matched`` tell the same fills: where
    both were recorded, one counts.
    """
    frames = [
        entry
        for entry in entries
        if entry.source is Source.RTDS and entry.payload.get("topic") == "activity"
    ]
    kinds = {frame.payload["type"] for frame in frames}
    counted = "trades" if "trades" in kinds else "orders_matched"
    return (
        (frame.at, frame.payload["payload"]) for frame in frames if frame.payload["type"] == counted
    )


def _markets(entries: Sequence[Entry]) -> dict[str, RecordedMarket]:
    """From the best source to the poorest: the catalogue, the trades, the books."""
    found: dict[str, RecordedMarket] = {}

    def market(condition_id: str) -> RecordedMarket:
        key = _key(condition_id)
        return found.setdefault(key, RecordedMarket(key))

    for row in (entry.payload for entry in entries if entry.source is Source.GAMMA):
        _learn_gamma(market(row["conditionId"]), row)
    for answer in (entry.payload for entry in entries if entry.source is Source.CLOB):
        _learn_clob(found, answer)
    for _, row in _rows(entries):
        _learn_row(market(row["conditionId"]), row)
    for event in (
        event
        for entry in entries
        for event in _market_events(entry)
        if event.get("event_type") == "book"
    ):
        _learn_book(market(event["market"]), event)
    return {condition: each for condition, each in found.items() if each.tokens}


def _key(condition_id: Any) -> str:
    """Condition ids of v2 markets are written with 62 hex digits here and with 64 there, the last
    two zero.
    """
    return str(condition_id).lower()[:64]


def _learn_gamma(market: RecordedMarket, row: Mapping[str, Any]) -> None:
    market.tokens |= dict(enumerate(tokens_of(row)))
    market.question, market.slug = str(row.get("question", "")), str(row.get("slug", ""))
    events = row.get("events") or [{}]
    market.event_slug = str(events[0].get("slug", ""))
    if row.get("orderPriceMinTickSize"):
        market.tick = _price(row["orderPriceMinTickSize"])


def _learn_clob(found: Mapping[str, RecordedMarket], answer: Mapping[str, Any]) -> None:
    listed = [str(each["t"]) for each in answer["t"]]
    for market in found.values():
        if set(listed) & set(market.tokens.values()):
            market.outcomes |= {
                number: str(each.get("o", "")) for number, each in enumerate(answer["t"])
            }
            market.tick = _price(answer["mts"])
            market.fee_rate = _decimal((answer.get("fd") or {}).get("r", 0))


def _learn_row(market: RecordedMarket, row: Mapping[str, Any]) -> None:
    outcome = int(row["outcomeIndex"])
    if outcome in _OTHER:
        market.tokens.setdefault(outcome, str(row["asset"]))
        market.outcomes.setdefault(outcome, str(row.get("outcome", "")))
    market.question = market.question or str(row.get("title", ""))
    market.slug = market.slug or str(row.get("slug", ""))
    market.event_slug = market.event_slug or str(row.get("eventSlug", ""))


def _learn_book(market: RecordedMarket, event: Mapping[str, Any]) -> None:
    """Nothing says which outcome a token is of that occurs in books alone: the first is taken for
    YES.
    """
    token = str(event["asset_id"])
    if token not in market.tokens.values() and len(market.tokens) < len(_OTHER):
        market.tokens[min(_OTHER.keys() - market.tokens.keys())] = token
    if event.get("tick_size"):
        market.tick = _price(event["tick_size"])


def _outcome_of(market: RecordedMarket, token: str) -> int | None:
    return next((outcome for outcome, known in market.tokens.items() if known == token), None)


def _trades(
    entries: Sequence[Entry], markets: Mapping[str, RecordedMarket]
) -> Iterator[RecordedTrade]:
    """Each transaction's rows, at the time of its first."""
    groups: defaultdict[tuple[str, str], list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
    for at, row in _rows(entries):
        groups[str(row["transactionHash"]), _key(row["conditionId"])].append((at, row))
    for (transaction_hash, condition_id), rows in groups.items():
        parts = [
            (row, _part(row, markets[condition_id])) for _, row in rows if condition_id in markets
        ]
        known = [(row, part) for row, part in parts if part is not None]
        if known:
            # The taker is who paid the fee; where there is none, his row is the first.
            taker = next((part for row, part in known if "fee" in row), known[0][1])
            yield RecordedTrade(
                at=rows[0][0],
                condition_id=condition_id,
                transaction_hash=transaction_hash,
                taker=taker,
                makers=tuple(part for _, part in known if part is not taker),
            )


def _part(row: Mapping[str, Any], market: RecordedMarket) -> Part | None:
    outcome = _outcome_of(market, str(row["asset"]))
    if outcome is None:
        return None
    shares = int(_decimal(row["size"]) * _MICRO)
    return Part(
        wallet=str(row["proxyWallet"]),
        outcome=outcome,
        side=Side[row["side"]],
        price=_price(row["price"]),
        shares=shares,
    )


def _book_steps(
    entries: Iterable[Entry], markets: Mapping[str, RecordedMarket]
) -> Iterator[BookSet | LevelsSet]:
    for entry in entries:
        for event in _market_events(entry):
            market = markets.get(_key(event.get("market", "")))
            if market is not None and event.get("event_type") == "book":
                yield from _book_set(entry.at, market, event)
            if market is not None and event.get("event_type") == "price_change":
                levels = dict(_changes(market, event["price_changes"]))
                yield LevelsSet(at=entry.at, condition_id=market.condition_id, levels=levels)


def _book_set(at: int, market: RecordedMarket, event: Mapping[str, Any]) -> Iterator[BookSet]:
    outcome = _outcome_of(market, str(event["asset_id"]))
    if outcome is None:
        return
    sides = ((Side.BUY, event["bids"]), (Side.SELL, event["asks"]))
    levels = dict(_level(outcome, side, level) for side, listed in sides for level in listed)
    yield BookSet(at=at, condition_id=market.condition_id, levels=levels)


def _changes(
    market: RecordedMarket, changes: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[Place, int]]:
    for change in changes:
        outcome = _outcome_of(market, str(change["asset_id"]))
        if outcome is not None:
            yield _level(outcome, Side[change["side"]], change)


def _level(outcome: int, side: Side, level: Mapping[str, Any]) -> tuple[Place, int]:
    price = _price(level["price"])
    place = Place(
        is_bid=(side is Side.BUY) == (outcome == 0),
        yes_price=price if outcome == 0 else PRICE_ONE - price,
    )
    return place, int(_decimal(level["size"]) * _MICRO)


def _price(value: Any) -> int:
    """1/10,000 USDC, to the nearest."""
    return int((_decimal(value) * PRICE_ONE).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def _decimal(value: Any) -> Decimal:
    """JSON numbers by their shortest text, which is how they were written."""
    return Decimal(str(value))
