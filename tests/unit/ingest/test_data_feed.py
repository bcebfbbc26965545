"""The Data API tells what the other feeds have missed, once, and a leader that cannot be asked
hides no other.
"""

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
from tests.unit.ingest.test_decisions import NEW_TRADE, covered_shares, after_fill


def a_row(**overrides: Any) -> Row:
    row = {
        "proxy_wallet": LEADER, "transaction_hash": TRANSACTION, "token_id": TOKEN, "side": "BUY", "size": 10, "price": "0.5",
        "timestamp": int(NOON.timestamp()),
    }  # fmt: skip
    return row | overrides


class Books:
    """What the Data API says of each wallet; None: it does not answer."""

    def __init__(self, **by_wallet: Sequence[Row] | None) -> None:
        self.by_wallet = by_wallet
        self.asked: list[tuple[str, datetime]] = []

    async def trades(self, wallet: str, since: datetime) -> Sequence[Row]:
        self.asked.append((wallet, since))
        rows = self.by_wallet[wallet]
        if rows is None:
            raise Transient("429")
        return rows


async def told(books: Books, *, rounds: int = 1) -> list[Message]:
    said: list[Message] = []

    async def publish(message: Message) -> None:
        said.append(message)

    minute = timedelta(minutes=1)
    feed = DataFeed(
        books.trades,
        leaders=lambda: set(books.by_wallet),
        now=lambda: NOON,
        poll_interval=minute,
        lookback=minute,
    )
    for _ in range(rounds):
        await feed.poll_leaders(publish)
    return said


async def test_the_oldest_is_told_first_and_each_once() -> None:
    books = Books(**{LEADER: [a_row(size=2), a_row(size=1)]})

    said = await told(books, rounds=3)

    assert [message.shares for message in said if isinstance(message, LeaderFillSeen)] == [
        1_000_000,
        2_000_000,
    ]
    assert books.asked == [(LEADER, NOON - timedelta(minutes=1))] * 3


async def test_a_leader_that_cannot_be_asked_hides_no_other() -> None:
    said = await told(Books(**{OTHER_PROXY: None, LEADER: [a_row()]}))

    assert [type(message) for message in said] == [LeaderFillSeen]


async def test_a_row_that_cannot_be_read_is_parked_once_and_hides_no_other() -> None:
    said = await told(Books(**{LEADER: [a_row(), a_row(price="cheap")]}), rounds=2)

    assert [type(message) for message in said] == [FrameParked, LeaderFillSeen]


FILLS = st.lists(st.integers(1, 50), min_size=1, max_size=5)


@given(fills=FILLS, repeated=st.data(), shuffle=st.randoms(use_true_random=False))
def test_three_witnesses_in_any_order_and_repetition_cover_what_the_chain_saw_once(
    fills: list[int], repeated: st.DataObject, shuffle: Random
) -> None:
    """The chain tells each of the fills; the others take equal ones for one."""
    rows = [
        a_fill(source=FillSource.CHAIN, row_id=f"order-{n}", shares=shares(size))
        for n, size in enumerate(fills)
    ]
    for source in (FillSource.RTDS, FillSource.DATA):
        rows += [
            a_fill(source=source, row_id=str(size), shares=shares(size))
            for size, _ in groupby(sorted(fills))
        ]
    heard = [*rows, *repeated.draw(st.lists(st.sampled_from(rows), max_size=10))]
    shuffle.shuffle(heard)

    trade = NEW_TRADE
    for fill in heard:
        trade, _ = after_fill(trade, fill)

    assert covered_shares(trade) == sum(part.shares for part in trade.slices) == shares(sum(fills))
