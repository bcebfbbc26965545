"""The Data API feed publishes each trade once; a failure for one leader does not stop the rest."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.adapters import DataFeed
from shared.domain.errors import Transient
from shared.messages.base import Message
from shared.messages.dead_letters import FrameParked
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from shared.polymarket.data_api import Row
from tests.builders import LEADER, NOON, OTHER_PROXY, TOKEN, TRANSACTION, a_fill, shares
from tests.unit.ingest.test_decisions import NEW_TRADE, after_fill, covered_shares


def a_row(**overrides: Any) -> Row:
    row = {
        "proxy_wallet": LEADER,
        "transaction_hash": TRANSACTION,
        "token_id": TOKEN,
        "side": "BUY",
        "size": 10,
        "price": "0.5",
        "timestamp": int(NOON.timestamp()),
    }
    return row | overrides


class FakeDataApi:
    """The Data API's rows by wallet; None: the request fails."""

    def __init__(self, **rows_by_wallet: Sequence[Row] | None) -> None:
        self.rows_by_wallet = rows_by_wallet
        self.requests: list[tuple[str, datetime]] = []

    async def fetch_trades(self, wallet: str, since: datetime) -> Sequence[Row]:
        self.requests.append((wallet, since))
        rows = self.rows_by_wallet[wallet]
        if rows is None:
            raise Transient("429")
        return rows


async def published_from(data_api: FakeDataApi, *, rounds: int = 1) -> list[Message]:
    published: list[Message] = []

    async def publish(message: Message) -> None:
        published.append(message)

    minute = timedelta(minutes=1)
    feed = DataFeed(
        data_api.fetch_trades,
        leaders=lambda: set(data_api.rows_by_wallet),
        now=lambda: NOON,
        poll_interval=minute,
        lookback=minute,
    )
    for _ in range(rounds):
        await feed.poll_leaders(publish)
    return published


async def test_the_oldest_row_is_published_first_and_each_row_once() -> None:
    data_api = FakeDataApi(**{LEADER: [a_row(size=2), a_row(size=1)]})

    published = await published_from(data_api, rounds=3)

    assert [message.shares for message in published if isinstance(message, LeaderFillSeen)] == [
        shares(1),
        shares(2),
    ]
    assert data_api.requests == [(LEADER, NOON - timedelta(minutes=1))] * 3


async def test_a_failed_request_for_one_leader_does_not_stop_the_others() -> None:
    published = await published_from(FakeDataApi(**{OTHER_PROXY: None, LEADER: [a_row()]}))

    assert [type(message) for message in published] == [LeaderFillSeen]


async def test_a_row_that_cannot_be_parsed_is_parked_once_and_does_not_stop_the_others() -> None:
    published = await published_from(
        FakeDataApi(**{LEADER: [a_row(), a_row(price="cheap")]}), rounds=2
    )

    assert [type(message) for message in published] == [FrameParked, LeaderFillSeen]


FILLS = st.lists(st.integers(1, 50), min_size=1, max_size=5)


@given(fills=FILLS, repeated=st.data(), shuffle=st.randoms(use_true_random=False))
def test_rows_of_three_sources_in_any_order_and_repetition_copy_what_the_chain_reports_once(
    fills: list[int], repeated: st.DataObject, shuffle: Random
) -> None:
    """The chain has a row for each fill; the other sources have one row for equal fills."""
    rows = [
        a_fill(source=FillSource.CHAIN, row_id=f"order-{n}", shares=shares(size))
        for n, size in enumerate(fills)
    ]
    for source in (FillSource.RTDS, FillSource.DATA):
        rows += [
            a_fill(source=source, row_id=str(size), shares=shares(size))
            for size, _ in groupby(sorted(fills))
        ]
    delivered = [*rows, *repeated.draw(st.lists(st.sampled_from(rows), max_size=10))]
    shuffle.shuffle(delivered)

    trade = NEW_TRADE
    for fill in delivered:
        trade, _ = after_fill(trade, fill)

    copied = sum(each.shares for each in trade.slices)
    assert covered_shares(trade) == copied == shares(sum(fills))
