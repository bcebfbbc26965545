"""Turns a recording's entries into what happened, in order: markets, book changes and trades.

Pure: entries in, steps out.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from services.paper_venue.exchange.orders import PRICE_ONE, Side
from services.paper_venue.recordings.recorder import parse_tokens
from services.paper_venue.recordings.recording import Entry, RecordingError, Source
from services.paper_venue.world.quoting import LevelKey

_MICRO = 1_000_000
_OUTCOMES = frozenset({0, 1})


@dataclass(slots=True)
class RecordedMarket:
    """What the recording says about a market, with its recorded tokens.

    ``condition_id`` is cut to 62 hex digits, see ``_condition_key``.
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
    """A market's whole book: micro-shares by level. ``at`` in ms since 1970."""

    at: int
    condition_id: str
    levels: Mapping[LevelKey, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelsSet:
    """New sizes of some levels, in micro-shares; 0: the level is gone. ``at`` in ms since 1970."""

    at: int
    condition_id: str
    levels: Mapping[LevelKey, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFill:
    """One activity row of a trade: what one wallet bought or sold. ``price`` in 1/10,000 USDC,
    rounded to the nearest; ``shares`` in micro-shares.
    """

    wallet: str
    outcome: int
    side: Side
    price: int
    shares: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTrade:
    """The rows of one transaction in one market. ``at``: of its first row, in ms since 1970."""

    at: int
    condition_id: str
    transaction_hash: str
    taker: RecordedFill
    makers: tuple[RecordedFill, ...]

    @property
    def fills(self) -> tuple[RecordedFill, ...]:
        return (self.taker, *self.makers)


Step = BookSet | LevelsSet | RecordedTrade


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Everything that a recording says happened, in the order recorded."""

    markets: tuple[RecordedMarket, ...]
    wallets: tuple[str, ...]
    """Every wallet that trades, in the order of their first trades."""
    steps: tuple[Step, ...]

    @property
    def trades(self) -> tuple[RecordedTrade, ...]:
        return tuple(step for step in self.steps if isinstance(step, RecordedTrade))


def build_timeline(entries: Sequence[Entry]) -> Timeline:
    """Build the timeline. Raises: RecordingError, for a payload that no venue sends."""
    try:
        return _build_timeline(entries)
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise RecordingError(
            f"the recording holds a payload of another shape than the venue's: {error!r}"
        ) from error


def _build_timeline(entries: Sequence[Entry]) -> Timeline:
    markets = _collect_markets(entries)
    trades = list(_build_trades(entries, markets))
    steps: list[Step] = [*_build_book_steps(entries, markets), *trades]
    steps.sort(key=lambda step: step.at)  # stable: what was recorded first stays first
    wallets = dict.fromkeys(fill.wallet for trade in trades for fill in trade.fills)
    return Timeline(markets=tuple(markets.values()), wallets=tuple(wallets), steps=tuple(steps))


def _market_events(entry: Entry) -> list[Mapping[str, Any]]:
    """The events of a market frame (one, or an array); a REST book counts as a book event."""
    if entry.source is Source.BOOK:
        return [{"event_type": "book", **entry.payload}]
    if entry.source is not Source.MARKET:
        return []
    return entry.payload if isinstance(entry.payload, list) else [entry.payload]


def _activity_rows(entries: Iterable[Entry]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Activity rows with their times. ``trades`` and ``orders_matched`` report the same fills:
    where both were recorded, only ``trades`` counts.
    """
    frames = [
        entry
        for entry in entries
        if entry.source is Source.RTDS and entry.payload.get("topic") == "activity"
    ]
    kinds = {frame.payload["type"] for frame in frames}
    counted_type = "trades" if "trades" in kinds else "orders_matched"
    return (
        (frame.at, frame.payload["payload"])
        for frame in frames
        if frame.payload["type"] == counted_type
    )


def _collect_markets(entries: Sequence[Entry]) -> dict[str, RecordedMarket]:
    """All markets that have a token, by condition key.

    Sources in the order of their quality: Gamma and the CLOB's catalogue, trades, books.
    """
    market_by_key: dict[str, RecordedMarket] = {}

    def market(condition_id: str) -> RecordedMarket:
        key = _condition_key(condition_id)
        return market_by_key.setdefault(key, RecordedMarket(key))

    for row in (entry.payload for entry in entries if entry.source is Source.GAMMA):
        _add_gamma_row(market(row["conditionId"]), row)
    for answer in (entry.payload for entry in entries if entry.source is Source.CLOB):
        _add_clob_answer(market_by_key, answer)
    for _, row in _activity_rows(entries):
        _add_activity_row(market(row["conditionId"]), row)
    for event in (
        event
        for entry in entries
        for event in _market_events(entry)
        if event.get("event_type") == "book"
    ):
        _add_book(market(event["market"]), event)
    return {condition: each for condition, each in market_by_key.items() if each.tokens}


def _condition_key(condition_id: Any) -> str:
    """The condition id in lower case, cut to 62 hex digits: some payloads write the ids of v2
    markets so, others with 64 digits of which the last two are zero.
    """
    return str(condition_id).lower()[:64]


def _add_gamma_row(market: RecordedMarket, row: Mapping[str, Any]) -> None:
    market.tokens |= dict(enumerate(parse_tokens(row)))
    market.question, market.slug = str(row.get("question", "")), str(row.get("slug", ""))
    events = row.get("events") or [{}]
    market.event_slug = str(events[0].get("slug", ""))
    if row.get("orderPriceMinTickSize"):
        market.tick = _parse_price(row["orderPriceMinTickSize"])


def _add_clob_answer(
    market_by_key: Mapping[str, RecordedMarket], answer: Mapping[str, Any]
) -> None:
    listed = [str(each["t"]) for each in answer["t"]]
    for market in market_by_key.values():
        if set(listed) & set(market.tokens.values()):
            market.outcomes |= {
                number: str(each.get("o", "")) for number, each in enumerate(answer["t"])
            }
            market.tick = _parse_price(answer["mts"])
            market.fee_rate = _parse_decimal((answer.get("fd") or {}).get("r", 0))


def _add_activity_row(market: RecordedMarket, row: Mapping[str, Any]) -> None:
    outcome = int(row["outcomeIndex"])
    if outcome in _OUTCOMES:
        market.tokens.setdefault(outcome, str(row["asset"]))
        market.outcomes.setdefault(outcome, str(row.get("outcome", "")))
    market.question = market.question or str(row.get("title", ""))
    market.slug = market.slug or str(row.get("slug", ""))
    market.event_slug = market.event_slug or str(row.get("eventSlug", ""))


def _add_book(market: RecordedMarket, event: Mapping[str, Any]) -> None:
    """Of a token that occurs in books alone the outcome is unknown: the first is taken for YES."""
    token = str(event["asset_id"])
    if token not in market.tokens.values() and len(market.tokens) < len(_OUTCOMES):
        market.tokens[min(_OUTCOMES - market.tokens.keys())] = token
    if event.get("tick_size"):
        market.tick = _parse_price(event["tick_size"])


def _find_outcome(market: RecordedMarket, token: str) -> int | None:
    return next((outcome for outcome, known in market.tokens.items() if known == token), None)


def _build_trades(
    entries: Sequence[Entry], markets: Mapping[str, RecordedMarket]
) -> Iterator[RecordedTrade]:
    """One trade for each transaction and market, at the time of its first row."""
    groups: defaultdict[tuple[str, str], list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
    for at, row in _activity_rows(entries):
        groups[str(row["transactionHash"]), _condition_key(row["conditionId"])].append((at, row))
    for (transaction_hash, condition_id), rows in groups.items():
        fills = [
            (row, _build_fill(row, markets[condition_id]))
            for _, row in rows
            if condition_id in markets
        ]
        known = [(row, fill) for row, fill in fills if fill is not None]
        if known:
            # The taker is who paid the fee; where there is none, his row is the first.
            taker = next((fill for row, fill in known if "fee" in row), known[0][1])
            yield RecordedTrade(
                at=rows[0][0],
                condition_id=condition_id,
                transaction_hash=transaction_hash,
                taker=taker,
                makers=tuple(fill for _, fill in known if fill is not taker),
            )


def _build_fill(row: Mapping[str, Any], market: RecordedMarket) -> RecordedFill | None:
    outcome = _find_outcome(market, str(row["asset"]))
    if outcome is None:
        return None
    shares = int(_parse_decimal(row["size"]) * _MICRO)
    return RecordedFill(
        wallet=str(row["proxyWallet"]),
        outcome=outcome,
        side=Side[row["side"]],
        price=_parse_price(row["price"]),
        shares=shares,
    )


def _build_book_steps(
    entries: Iterable[Entry], markets: Mapping[str, RecordedMarket]
) -> Iterator[BookSet | LevelsSet]:
    for entry in entries:
        for event in _market_events(entry):
            market = markets.get(_condition_key(event.get("market", "")))
            if market is not None and event.get("event_type") == "book":
                yield from _build_book_set(entry.at, market, event)
            if market is not None and event.get("event_type") == "price_change":
                levels = dict(_level_changes(market, event["price_changes"]))
                yield LevelsSet(at=entry.at, condition_id=market.condition_id, levels=levels)


def _build_book_set(at: int, market: RecordedMarket, event: Mapping[str, Any]) -> Iterator[BookSet]:
    outcome = _find_outcome(market, str(event["asset_id"]))
    if outcome is None:
        return
    sides = ((Side.BUY, event["bids"]), (Side.SELL, event["asks"]))
    levels = dict(_parse_level(outcome, side, level) for side, listed in sides for level in listed)
    yield BookSet(at=at, condition_id=market.condition_id, levels=levels)


def _level_changes(
    market: RecordedMarket, changes: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[LevelKey, int]]:
    for change in changes:
        outcome = _find_outcome(market, str(change["asset_id"]))
        if outcome is not None:
            yield _parse_level(outcome, Side[change["side"]], change)


def _parse_level(outcome: int, side: Side, level: Mapping[str, Any]) -> tuple[LevelKey, int]:
    price = _parse_price(level["price"])
    place = LevelKey(
        is_bid=(side is Side.BUY) == (outcome == 0),
        yes_price=price if outcome == 0 else PRICE_ONE - price,
    )
    return place, int(_parse_decimal(level["size"]) * _MICRO)


def _parse_price(value: Any) -> int:
    """1/10,000 USDC, to the nearest."""
    return int((_parse_decimal(value) * PRICE_ONE).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def _parse_decimal(value: Any) -> Decimal:
    """JSON numbers by their shortest text, which is how they were written."""
    return Decimal(str(value))
