"""Recorded frames of the live venue become a recording; playing it repeats the trades at the same
prices with other wallets.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from eth_account import Account

from services.paper_venue.chain.view import verify
from services.paper_venue.exchange.matching_engine import MatchingEngine
from services.paper_venue.exchange.orders import Side
from services.paper_venue.faults.catalogue import Faults
from services.paper_venue.http.auth import ApiKeyStore
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.recordings.book_restorer import BookRestorer
from services.paper_venue.recordings.player import RecordingPlayer
from services.paper_venue.recordings.recorded_world import build_local_market, shares_sold
from services.paper_venue.recordings.recording import (
    Entry,
    RecordingError,
    Source,
    build_entry_line,
    build_header_line,
    parse_recording,
)
from services.paper_venue.recordings.timeline import (
    BookSet,
    LevelsSet,
    RecordedTrade,
    Timeline,
    build_timeline,
)
from services.paper_venue.world.quoting import LevelKey
from services.paper_venue.world.trader_wallets import TraderWallet, build_trader
from shared.chain.addresses import POLYGON_CHAIN_ID
from tests.unit.paper_venue.builders import rich
from tests.unit.paper_venue.fakes import Clock, FakeChain, FakeChannels, FakeSettlements

PAYLOADS = Path(__file__).parents[2] / "payloads" / "venue"
YES, NO = "71", "72"
CONDITION = "0x" + "ab" * 31
PADDED_CONDITION = CONDITION + "00"
SHARE = 1_000_000


def live_recording() -> list[Entry]:
    """The recorded live frames, written as a recording and read back."""
    activity, market = (
        json.loads((PAYLOADS / name).read_bytes())
        for name in ("rtds_activity_trades.json", "clob_market_channel.json")
    )
    entries = [
        *(
            Entry(at=int(frame.get("timestamp", 0)), source=Source.MARKET, payload=frame)
            for frame in market
        ),
        *(
            Entry(at=int(frame["timestamp"]), source=Source.RTDS, payload=frame)
            for frame in activity
        ),
    ]
    return list(parse_recording([build_header_line(0), *map(build_entry_line, entries)]))


def a_book(*, bids: dict[str, str], asks: dict[str, str], token: str = YES, at: int = 0) -> Entry:
    sides = {"bids": bids, "asks": asks}
    levels = {
        side: [{"price": price, "size": size} for price, size in listed.items()]
        for side, listed in sides.items()
    }
    return Entry(
        at=at,
        source=Source.BOOK,
        payload={"market": PADDED_CONDITION, "asset_id": token, "tick_size": "0.01", **levels},
    )


def a_row(
    wallet: str,
    side: str,
    price: str,
    size: str,
    *,
    token: str = YES,
    at: int = 1_000,
    tx: str = "0x1",
    **more: Any,
) -> Entry:
    payload = {
        "asset": token,
        "conditionId": CONDITION,
        "outcome": "Yes" if token == YES else "No",
        "outcomeIndex": 0 if token == YES else 1,
        "price": json.loads(price),
        "proxyWallet": wallet,
        "side": side,
        "size": json.loads(size),
        "transactionHash": tx,
        **more,
    }
    return Entry(
        at=at,
        source=Source.RTDS,
        payload={"topic": "activity", "type": "trades", "payload": payload},
    )


class PlayedRecording:
    """A recording that is played on a venue without a chain."""

    def __init__(self, entries: Sequence[Entry], *, shares: int = 10**15) -> None:
        self.timeline: Timeline = build_timeline(entries)
        self.clock, self.published = Clock(), FakeChannels()
        self.waits: list[float] = []
        markets = [
            build_local_market(
                number,
                recorded,
                condition_id=f"0x{number:064x}",
                token_ids=(f"{2 * number}", f"{2 * number + 1}"),
            )
            for number, recorded in enumerate(self.timeline.markets, 1)
        ]
        self.markets = {
            recorded.condition_id: market
            for recorded, market in zip(self.timeline.markets, markets, strict=True)
        }
        self.venue = Venue(
            engine=MatchingEngine(markets),
            verify=verify,
            settlements=FakeSettlements(),
            channels=self.published,
            chain=FakeChain(),
            faults=Faults(),
        )
        self._shares = dict.fromkeys(
            [token for market in markets for token in market.token_ids], shares
        )
        makers = [self._trader(1), self._trader(2)]
        self.trader_by_wallet = {
            wallet: self._trader(10 + number) for number, wallet in enumerate(self.timeline.wallets)
        }
        self.books = BookRestorer(self.venue, makers, self.markets)

    def _trader(self, number: int) -> TraderWallet:
        key = f"0x{number:064x}"
        trader = build_trader(
            Account.from_key(key).address,
            key,
            ApiKeyStore(secret=b"x" * 32, chain_id=POLYGON_CHAIN_ID),
            now_ms=self.clock.ms,
        )
        self.venue.engine.accounts.refresh(
            trader.address, replace(rich(collateral=10**18), shares=self._shares)
        )
        return trader

    async def run(self, *, speed: str = "0") -> dict[str, Any]:
        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)

        player = RecordingPlayer(
            self.venue,
            self.books,
            self.timeline,
            self.trader_by_wallet,
            speed=Decimal(speed),
            now_ms=self.clock.now_ms,
            sleep=sleep,
        )
        await player.run()
        assert player.done
        return player.report()

    def rows(self) -> list[tuple[Any, ...]]:
        """(recorded wallet, side, outcome, size, price) of every published activity row."""
        recorded = {trader.address: wallet for wallet, trader in self.trader_by_wallet.items()}
        rows = [orjson.loads(orjson.dumps(row)) for row in self.published.activity]
        return [
            (
                recorded.get(row["proxyWallet"], "market maker"),
                row["side"],
                row["outcomeIndex"],
                row["size"],
                row["price"],
            )
            for row in rows
        ]

    def levels(self) -> tuple[dict[int, int], dict[int, int]]:
        """YES bids and asks: micro-shares by price."""
        (market,) = self.markets.values()
        book = self.venue.engine.books[market.condition_id]
        return {level.price: level.shares for level in book.bids(0)}, {
            level.price: level.shares for level in book.asks(0)
        }


async def test_live_frames_are_played_with_the_recorded_prices_and_sizes() -> None:
    played = PlayedRecording(live_recording())

    report = await played.run()

    recorded = [
        (fill.wallet, fill.side.name, fill.outcome)
        for trade in played.timeline.trades
        for fill in trade.fills
    ]
    assert len(recorded) == 5
    assert report["trades"] == {"recorded": 3, "exact": 3, "approximate": 0, "not_reenacted": 0}
    assert [row[:3] for row in played.rows() if row[0] != "market maker"] == recorded
    minted = [row[1:] for row in played.rows() if row[3] == 1030.92]
    assert minted == [("BUY", 1, 1030.92, 0.03), ("BUY", 0, 1030.92, 0.97)]


def test_the_markets_of_live_frames_are_learnt_from_their_trades_and_books() -> None:
    timeline = build_timeline(live_recording())
    malta = next(
        market for market in timeline.markets if market.slug == "unl-and-mal-2026-09-24-mal"
    )

    assert malta.outcomes == {0: "Yes", 1: "No"}
    assert malta.tokens[1].startswith("50341643796357809")
    assert all(market.tokens for market in timeline.markets)


async def test_books_are_set_to_the_recorded_ones_from_either_token() -> None:
    row = a_row("0xA", "BUY", "0.5", "10", at=9_000)
    played = PlayedRecording(
        [row, a_book(bids={"0.48": "100", "0.47": "3"}, asks={"0.52": "50.5"})]
    )
    played.books.set_book(CONDITION, played.timeline.steps[0].levels, now_ms=played.clock.ms)  # type: ignore[union-attr]
    assert played.levels() == ({4_800: 100 * SHARE}, {5_200: 50_500_000}), (
        "a level below the smallest order cannot be placed"
    )

    mirrored = build_timeline(
        [
            row,
            a_row("0xB", "BUY", "0.5", "10", token=NO),
            a_book(bids={"0.48": "100"}, asks={"0.52": "50"}, token=NO),
        ]
    )
    (book,) = [step for step in mirrored.steps if isinstance(step, BookSet)]
    assert book.levels == {
        LevelKey(is_bid=False, yes_price=5_200): 100 * SHARE,
        LevelKey(is_bid=True, yes_price=4_800): 50 * SHARE,
    }


def test_changes_of_levels_are_read_for_both_tokens() -> None:
    changes = [
        {"asset_id": YES, "price": "0.4", "size": "7", "side": "BUY"},
        {"asset_id": NO, "price": "0.6", "size": "7", "side": "SELL"},
        {"asset_id": NO, "price": "0.3", "size": "0", "side": "BUY"},
    ]
    frame = {"event_type": "price_change", "market": CONDITION, "price_changes": changes}
    entries = [
        a_row("0xA", "BUY", "0.5", "10"),
        a_row("0xB", "SELL", "0.5", "10", token=NO),
        Entry(at=1, source=Source.MARKET, payload=[frame]),
    ]

    (step,) = [step for step in build_timeline(entries).steps if isinstance(step, LevelsSet)]
    assert step.levels == {
        LevelKey(is_bid=True, yes_price=4_000): 7 * SHARE,
        LevelKey(is_bid=False, yes_price=7_000): 0,
    }


async def test_recorded_makers_match_before_market_makers_and_the_book_is_restored() -> None:
    book = a_book(bids={"0.48": "100"}, asks={"0.49": "100", "0.52": "100"})
    taker, maker = (
        a_row("0xTaker", "BUY", "0.52", "20", fee=0.1),
        a_row("0xMaker", "SELL", "0.52", "20"),
    )
    played = PlayedRecording([book, maker, taker])

    report = await played.run()

    assert played.timeline.trades[0].taker.wallet == "0xTaker", (
        "the taker is the wallet that paid the fee, whichever row came first"
    )
    assert report["trades"]["exact"] == 1
    assert played.rows() == [("0xTaker", "BUY", 0, 20, 0.52), ("0xMaker", "SELL", 0, 20, 0.52)]
    assert played.levels() == ({4_800: 100 * SHARE}, {4_900: 100 * SHARE, 5_200: 100 * SHARE})


async def test_a_sale_into_an_empty_book_matches_a_market_maker_at_the_recorded_price() -> None:
    played = PlayedRecording([a_row("0xA", "SELL", "0.31", "12.5")])

    report = await played.run()

    assert report["trades"]["exact"] == 1
    assert played.rows() == [("0xA", "SELL", 0, 12.5, 0.31), ("market maker", "BUY", 0, 12.5, 0.31)]


async def test_a_price_between_two_ticks_is_approximated_and_counted() -> None:
    played = PlayedRecording([a_row("0xA", "SELL", "0.3149", "12.5")])

    assert (await played.run())["trades"] == {
        "recorded": 1,
        "exact": 0,
        "approximate": 1,
        "not_reenacted": 0,
    }


async def test_a_trade_that_the_venue_refuses_is_counted_with_its_reason() -> None:
    played = PlayedRecording(
        [a_row("0xA", "BUY", "0.5", "1"), a_row("0xB", "BUY", "0.5", "40", tx="0x2")]
    )

    report = await played.run()

    assert report["trades"] == {"recorded": 2, "exact": 1, "approximate": 0, "not_reenacted": 1}
    assert list(report["why_not"]) == [
        "invalid amount for a marketable BUY order ($0.5), min size: $1"
    ]
    assert not played.venue.engine.resting, (
        "orders that were placed for a trade are cancelled after it"
    )


@pytest.mark.parametrize(("speed", "waited"), [("1", [0, 1.5]), ("2", [0, 0.75]), ("0", [0, 0])])
async def test_steps_are_played_at_the_chosen_speed(speed: str, waited: list[float]) -> None:
    played = PlayedRecording(
        [
            a_row("0xA", "BUY", "0.5", "10", at=1_000),
            a_row("0xA", "BUY", "0.5", "10", at=2_500, tx="0x2"),
        ]
    )

    await played.run(speed=speed)

    assert played.waits == waited


def test_two_equal_rows_of_one_transaction_are_two_fills() -> None:
    taker, maker = a_row("0xT", "BUY", "0.5", "20", fee=1), a_row("0xM", "SELL", "0.5", "10")

    (trade,) = build_timeline([taker, maker, maker]).trades

    assert [fill.shares for fill in trade.makers] == [10 * SHARE, 10 * SHARE]


def test_orders_matched_rows_count_only_if_no_trades_rows_were_recorded() -> None:
    def matched(entry: Entry) -> Entry:
        return Entry(
            at=entry.at, source=entry.source, payload=entry.payload | {"type": "orders_matched"}
        )

    row = a_row("0xA", "BUY", "0.5", "10")

    assert len(build_timeline([row, matched(row)]).trades[0].fills) == 1
    assert len(build_timeline([matched(row)]).trades) == 1


def test_a_wallet_that_sells_in_the_recording_needs_shares_for_it() -> None:
    timeline = build_timeline(
        [
            a_row("0xA", "BUY", "0.5", "10"),
            a_row("0xB", "SELL", "0.5", "40"),
            a_row("0xB", "SELL", "0.5", "2", tx="0x2"),
        ]
    )

    needed = shares_sold(timeline, CONDITION)

    assert needed.keys() == {"0xB"}
    assert needed["0xB"] >= 42 * SHARE


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda payload: payload.pop("transactionHash"),
        lambda payload: payload.update(price="dear"),
        lambda payload: payload.update(side="HOLD"),
    ],
)
def test_a_payload_of_another_shape_is_refused(corrupt: Callable[[dict[str, Any]], object]) -> None:
    entry = a_row("0xA", "BUY", "0.5", "10")
    corrupt(entry.payload["payload"])

    with pytest.raises(RecordingError, match="another shape"):
        build_timeline([entry])


def test_a_trade_has_the_time_of_its_first_row() -> None:
    (trade,) = build_timeline(
        [a_row("0xA", "BUY", "0.5", "10", at=7), a_row("0xB", "SELL", "0.5", "10", at=9)]
    ).trades

    assert isinstance(trade, RecordedTrade)
    assert (trade.at, trade.taker.side) == (7, Side.BUY)
