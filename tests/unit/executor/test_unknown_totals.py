"""Orders of which nobody has said how much was matched, and trades that are replaced or fail: what
the chain, lookups and reports make of them, in whatever order they come.
"""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages.base import Message
from shared.messages.orders import (
    FINAL_STATES,
    OrderReported,
    OrderState,
    TradeReported,
    TradeStatus,
)
from shared.messages.transactions import FillsSettled
from tests.builders import (
    NOON,
    TRANSACTION,
    a_chain_fill,
    a_trade,
    approved,
    fills_settled,
    overdue,
    resolved,
    seconds,
    settled,
    shares,
)
from tests.unit.executor.harness import VERIFY_FOR, ExecutorHarness

OTHER_TRANSACTION = "0x" + "2b" * 32
REVERTED = "0x" + "3c" * 32


def a_part(amount: int, transaction_hash: str = TRANSACTION) -> FillsSettled:
    fill = a_chain_fill(
        shares=amount, usdc=amount // 2, fee_usdc=0, transaction_hash=transaction_hash
    )
    return fills_settled(fills=(fill,))


def a_report(name: str, amount: int, status: TradeStatus, transaction: str = "") -> TradeReported:
    return a_trade(
        trade_id=f"venue-{name}",
        status=status,
        shares=amount,
        usdc=amount // 2,
        fee_usdc=0,
        transaction_hash=transaction,
    )


async def an_unanswered_copy(*shown: TradeReported) -> ExecutorHarness:
    """Its reply was lost, and the venue shows these trades of it."""
    executor = ExecutorHarness("reply lost")
    await executor.handle(approved())
    executor.venue.trades = shown
    return executor


def ends(messages: list[Message]) -> list[tuple[OrderState, int]]:
    return [
        (each.state, each.shares)
        for each in messages
        if isinstance(each, OrderReported) and each.state in FINAL_STATES
    ]


@pytest.mark.parametrize("status", [TradeStatus.MINED, TradeStatus.CONFIRMED, TradeStatus.RETRYING])
async def test_the_first_of_two_transactions_does_not_end_an_order_without_a_known_total(
    status: TradeStatus,
) -> None:
    first = a_report("a", shares(6), TradeStatus.CONFIRMED, TRANSACTION)
    second = a_report("b", shares(4), status, OTHER_TRANSACTION)
    executor = await an_unanswered_copy(first, second)

    published = await executor.handle(a_part(shares(6)))
    for _ in range(3):
        executor.clock.now += VERIFY_FOR
        published += await executor.handle(overdue())
    is_ended = status is TradeStatus.CONFIRMED
    assert set(ends(published)) == ({(OrderState.CONFIRMED, shares(10))} if is_ended else set())
    assert executor.order.shares == shares(10)

    published += await executor.handle(a_part(shares(4), OTHER_TRANSACTION))
    assert set(ends(published)) == {(OrderState.CONFIRMED, shares(10))}


async def test_a_fill_never_ends_an_order_without_a_known_total_however_late_it_comes() -> None:
    executor = ExecutorHarness("killed with a partial fill")
    await executor.handle(approved())
    executor.clock.now += VERIFY_FOR + seconds(1)

    assert ends(await executor.handle(a_part(shares(6)))) == []
    assert executor.order.unverified_since == executor.clock.now


@pytest.mark.parametrize("answer", ["reply lost", "killed with a partial fill"])
async def test_a_report_of_one_trade_never_ends_an_order_without_a_known_total(
    answer: str,
) -> None:
    executor = ExecutorHarness(answer)
    await executor.handle(approved())
    executor.clock.now += VERIFY_FOR
    first = a_report("a", shares(6), TradeStatus.CONFIRMED, TRANSACTION)
    executor.venue.trades = (first, a_report("b", shares(4), TradeStatus.MINED))

    published = await executor.handle(first)
    assert ends(published) == []
    for _ in range(2):
        executor.clock.now += VERIFY_FOR
        published += await executor.handle(overdue())

    assert ends(published) == []
    assert (executor.order.state, executor.order.shares) == (OrderState.MATCHED, shares(10))


@dataclass(frozen=True)
class Part:
    """A trade of the order, as the venue shows it over time."""

    name: str
    amount: int
    shown: tuple[tuple[TradeStatus, str], ...]
    settled_by: str
    """Its transaction; empty: it fails."""

    @property
    def reports(self) -> list[TradeReported]:
        return [a_report(self.name, self.amount, *each) for each in self.shown]


def a_part_by_fate(name: str, amount: int, transaction: str, fate: str) -> Part:
    replaced = ((TradeStatus.MATCHED, ""), (TradeStatus.MINED, f"{REVERTED[:-1]}{name}"))
    ways = {
        "settled": (*replaced[:1], (TradeStatus.MINED, transaction)),
        "replaced": (*replaced, (TradeStatus.MINED, transaction)),
        "retried": (*replaced, (TradeStatus.RETRYING, f"{REVERTED[:-1]}{name}")),
        "stale": replaced,
        "failed": (*replaced, (TradeStatus.RETRYING, "")),
    }
    last = {
        "stale": (TradeStatus.CONFIRMED, f"{REVERTED[:-1]}{name}"),
        "failed": (TradeStatus.FAILED, f"{REVERTED[:-1]}{name}"),
    }.get(fate, (TradeStatus.CONFIRMED, transaction))
    return Part(
        name=name,
        amount=amount,
        shown=(*ways[fate], last),
        settled_by="" if fate == "failed" else transaction,
    )


FATES = st.sampled_from(["settled", "replaced", "retried", "stale", "failed"])
AMOUNTS = st.sampled_from([(shares(10),), (shares(6), shares(4)), (shares(5), shares(5))])
PARTS = (
    st.tuples(AMOUNTS, FATES, FATES)
    .filter(lambda drawn: len(set(drawn[0])) > 1 or {*drawn[1:]} != {"stale", "failed"})
    .map(
        lambda drawn: [
            a_part_by_fate("ab"[number], amount, (TRANSACTION, OTHER_TRANSACTION)[number], fate)
            for number, (amount, fate) in enumerate(zip(drawn[0], drawn[1:], strict=False))
        ]
    )
)
"""Not two of one amount, where one fails and the venue never names the transaction of the other:
nothing tells which of them the chain has settled."""


@dataclass
class World:
    """The trades of one order, and an executor that hears of them."""

    parts: list[Part]
    executor: ExecutorHarness
    published: list[Message] = field(default_factory=list)

    @property
    def truth(self) -> tuple[OrderState, int]:
        filled = sum(part.amount for part in self.parts if part.settled_by)
        return (OrderState.CONFIRMED if filled else OrderState.FAILED, filled)

    async def show(self, stages: tuple[int, ...]) -> None:
        """The venue shows each trade at a stage, none where it is 0; it lags by no more than
        ``VERIFY_FOR``.
        """
        is_complete = self.executor.clock.now >= NOON + VERIFY_FOR
        self.executor.venue.trades = tuple(
            part.reports[min(max(stage, 1), len(part.shown)) - 1]
            for part, stage in zip(self.parts, stages, strict=False)
            if stage or is_complete
        )
        await self.handle(overdue())

    async def report(self, number: int, stage: int) -> None:
        reports = self.parts[number % len(self.parts)].reports
        await self.handle(reports[stage % len(reports)])

    async def fill(self, number: int) -> None:
        part = self.parts[number % len(self.parts)]
        if part.settled_by:
            await self.handle(a_part(part.amount, part.settled_by))

    async def resolve(self, number: int) -> None:
        """The watch of a trade's transaction has found it in a final block."""
        part = self.parts[number % len(self.parts)]
        if part.settled_by:
            fill = settled(shares=part.amount, usdc=part.amount // 2, fee_usdc=0)
            await self.executor.handler.on_transaction_resolved(
                resolved(transaction_hash=part.settled_by, fills=(fill,))
            )

    async def handle(self, message: Message) -> None:
        self.published += await self.executor.handle(message)


Steps = list[tuple[str, int, int, int]]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["show", "report", "fill", "resolve"]),
        st.integers(0, 4),
        st.integers(0, 4),
        st.integers(0, 5),
    ),
    max_size=12,
)


async def live(parts: list[Part], answer: str, steps: Steps) -> World:
    world = World(parts, ExecutorHarness(answer))
    world.executor.venue.shows_trades = True
    await world.handle(approved())
    for kind, first, second, pause in steps:
        world.executor.clock.now += seconds(pause)
        match kind:
            case "show":
                await world.show((first, second))
            case "report":
                await world.report(first, second)
            case "fill":
                await world.fill(first)
            case _:
                await world.resolve(first)
    for number in range(len(parts)):
        await world.fill(number)
    for _ in range(3):
        world.executor.clock.now += VERIFY_FOR
        await world.show((4, 4))
    return world


@given(
    parts=PARTS,
    answer=st.sampled_from(["reply lost", "killed with a partial fill", "accepted"]),
    steps=STEPS,
)
def test_whatever_comes_in_whatever_order_an_order_ends_with_the_truth_or_stays_open(
    parts: list[Part], answer: str, steps: Steps
) -> None:
    world = asyncio.run(live(parts, answer, steps))

    assert set(ends(world.published)) <= {world.truth}
    assert world.executor.order.state in {OrderState.MATCHED, world.truth[0]}
    if all(part.settled_by for part in parts):
        assert ends(world.published)[-1] == world.truth
