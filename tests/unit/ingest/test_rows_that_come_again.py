"""A row that comes again in another message (of a second instance, or of a feed that was restarted)
makes no intents again. The message that led to them makes them whenever it is delivered: so none is
lost, wherever the process dies.
"""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.decisions import CopySlice, Trade, TradeContext, reconcile, row_key
from services.ingest.handler import Handler
from shared.domain.ids import derived_id
from shared.domain.money import Side
from shared.messages.base import Message
from shared.messages.intents import CopyIntended
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import NOON, OTHER_PROXY, TRANSACTION, a_fill, a_follow, controls, shares, usdc
from tests.fakes import (
    Clock,
    FakeComplements,
    FakeHoldings,
    FakeTrades,
    FixedControls,
    Killed,
    wire,
)

BOTH = controls(
    *(
        a_follow(
            follow_id=f"follow-{proxy}",
            proxy=proxy,
            percent=Decimal(1000),
            min_usdc=0,
            max_usdc=usdc(10_000),
        )
        for proxy in (a_follow().proxy, OTHER_PROXY)
    )
)
"""By their terms no slice is below the venue's minimum, so that each makes intents."""
OTHER_TRANSACTION = "0x" + "cd" * 32


def an_ingest(trades: FakeTrades) -> Handler:
    return Handler(
        trades=trades,
        holdings=FakeHoldings(),
        complements=FakeComplements(),
        controls=FixedControls(BOTH),
        now=Clock(NOON),
    )


def a_message(number: int, **overrides: Any) -> LeaderFillSeen:
    """The row as a feed saw it at a time of its own."""
    return a_fill(occurred_at=NOON + timedelta(microseconds=number), **overrides)


@pytest.mark.parametrize("side", Side)
async def test_a_row_that_comes_again_makes_no_intents_again(side: Side) -> None:
    handler = an_ingest(FakeTrades())
    assert len(await handler.on_leader_fill_seen(a_message(1, side=side))) == 2

    assert await handler.on_leader_fill_seen(a_message(2, side=side)) == []


async def test_the_message_that_made_intents_makes_them_whenever_it_is_delivered() -> None:
    handler = an_ingest(FakeTrades())
    first = await handler.on_leader_fill_seen(a_message(1))
    await handler.on_leader_fill_seen(a_message(2))

    assert wire(await handler.on_leader_fill_seen(a_message(1))) == wire(first)


async def test_a_row_that_comes_again_and_leads_to_more_shares_makes_the_intents_of_these() -> None:
    """The row was taken for a resent settlement; meanwhile the other trade was confirmed."""
    trades = FakeTrades()
    handler = an_ingest(trades)
    await handler.on_leader_fill_seen(a_message(1))
    chain = {"source": FillSource.CHAIN, "row_id": "0xabc:1"}
    settled = a_message(2, transaction_hash=OTHER_TRANSACTION, **chain)
    assert await handler.on_leader_fill_seen(settled) == []
    (again,) = await handler.on_leader_fill_seen(a_message(3, **chain))
    assert again == settled

    repeated = a_message(4, transaction_hash=OTHER_TRANSACTION, **chain)
    intended = await handler.on_leader_fill_seen(repeated)

    assert len(intended) == 2
    assert await handler.on_leader_fill_seen(again) == []
    assert wire(await handler.on_leader_fill_seen(repeated)) == wire(intended)


def test_slices_of_an_earlier_release_are_made_by_every_message_of_their_row() -> None:
    fill = a_message(1)
    known = CopySlice(
        sequence=0,
        from_shares=0,
        to_shares=fill.shares,
        caused_by=row_key(fill),
        controls_version=BOTH.version,
        intended_at=NOON,
    )
    row = reconcile(
        TradeContext(trade=Trade(trade_id=fill.trade_id, rows={})),
        fill,
        controls_version=BOTH.version,
        now=NOON,
    ).row
    trade = Trade(trade_id=fill.trade_id, rows={row_key(fill): row}, slices=(known,))

    decided = reconcile(
        TradeContext(trade=trade), a_message(2), controls_version=BOTH.version, now=NOON
    )

    assert decided.to_copy == (known,)


async def test_intents_of_an_earlier_release_are_made_again_under_their_old_ids() -> None:
    """Else preflight would judge them as new ones: a second copy."""
    trades, fill = FakeTrades(), a_message(1)
    decided = reconcile(
        TradeContext(trade=Trade(trade_id=fill.trade_id, rows={})),
        fill,
        controls_version=BOTH.version,
        now=NOON,
    )
    old = replace(decided.slices[0], seen_at=None, has_dated_ids=False)
    await trades.record(fill, replace(decided, slices=(old,)))

    made = await an_ingest(trades).on_leader_fill_seen(a_message(2))

    assert {each.intent.intent_id for each in made if isinstance(each, CopyIntended)} == {
        derived_id("intent", fill.trade_id, 0, f"follow-{proxy}")
        for proxy in (a_follow().proxy, OTHER_PROXY)
    }


class End(StrEnum):
    """How far the handling of a message gets before the process dies."""

    FINISHED = "finished"
    BEFORE_RECORD = "before_record"
    RECORDED = "recorded"
    PUBLISHED = "published"
    """Its offset is not committed."""


class DyingTrades(FakeTrades):
    """A store whose process dies before or after the next record."""

    end = End.FINISHED

    async def record(self, *args: Any) -> None:
        if self.end is End.BEFORE_RECORD:
            raise Killed
        await super().record(*args)
        if self.end is End.RECORDED:
            raise Killed


@dataclass(slots=True)
class Partition:
    """A partition of leader-fills with one consumer, which begins again where it was committed."""

    log: list[Message]
    trades: DyingTrades = field(default_factory=DyingTrades)
    published: list[CopyIntended] = field(default_factory=list)

    async def handle(self, offset: int, end: End) -> bool:
        """Whether the message is finished."""
        self.trades.end, message = end, self.log[offset]
        assert isinstance(message, LeaderFillSeen)
        try:
            outputs = await an_ingest(self.trades).on_leader_fill_seen(message)
        except Killed:
            return False
        for output in outputs:
            if isinstance(output, CopyIntended):
                self.published.append(output)
            else:
                self.log.append(output)
        return end is End.FINISHED

    async def run(self, ends: list[End], *, uncommitted: list[int]) -> None:
        """Handle all messages; at each end of the process, as many finished ones are delivered
        again as were not committed.
        """
        deaths, offset = iter(ends), 0
        while offset < len(self.log):
            if await self.handle(offset, next(deaths, End.FINISHED)):
                offset += 1
            else:
                offset = max(0, offset - (uncommitted.pop() if uncommitted else 0))

    @property
    def owed_ids(self) -> set[tuple[str, int]]:
        """Trade and first share of all slices that are copied."""
        return {
            (trade_id, each.from_shares)
            for trade_id, slices in self.trades.slices_by_trade.items()
            for each in slices
            if not each.resent_of
        }


ROWS = st.lists(
    st.tuples(
        st.sampled_from([FillSource.RTDS, FillSource.CHAIN]),
        st.sampled_from([TRANSACTION, OTHER_TRANSACTION]),
        st.sampled_from("ab"),
    ),
    min_size=1,
    max_size=8,
)


def a_log(rows: list[tuple[FillSource, str, str]]) -> list[Message]:
    """A message for each row, which is the same row where it is in the list again."""
    return [
        a_message(
            number,
            source=source,
            transaction_hash=transaction,
            row_id=row_id,
            shares=shares(10 if row_id == "a" else 20),
        )
        for number, (source, transaction, row_id) in enumerate(rows)
    ]


@given(
    rows=ROWS,
    ends=st.lists(st.sampled_from(End), max_size=20),
    uncommitted=st.lists(st.integers(0, 3), max_size=10),
)
async def test_whatever_is_recorded_is_published_wherever_the_process_dies(
    rows: list[tuple[FillSource, str, str]], ends: list[End], uncommitted: list[int]
) -> None:
    partition = Partition(a_log(rows))

    await partition.run(ends, uncommitted=uncommitted)

    for proxy in (a_follow().proxy, OTHER_PROXY):
        intents = {
            (
                message.intent.transaction_hash,
                message.intent.intent_id,
                message.intent.leader_shares,
            )
            for message in partition.published
            if message.intent.proxy == proxy
        }
        assert len(intents) == len(partition.owed_ids)


@given(rows=ROWS)
async def test_without_a_failure_every_intent_of_a_transaction_is_published_once(
    rows: list[tuple[FillSource, str, str]],
) -> None:
    partition = Partition(a_log([(source, TRANSACTION, row_id) for source, _, row_id in rows]))

    await partition.run([], uncommitted=[])

    ids = [message.intent.intent_id for message in partition.published]
    assert len(ids) == len(set(ids)) == 2 * len(partition.owed_ids)
