"""The cost of a copy does not grow with the past: what its statements read of a large history, and
what they write of an index.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters.cleanup import CleanupFeed
from services.preflight.adapters.delays import DelayFeed
from services.preflight.adapters.exits import load_due_exits, load_exits
from services.preflight.adapters.levels import load_held_tokens, load_tokens, save_bases
from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.decisions import DelayedEntry, Exit, ExitState, Limits
from services.preflight.decisions.levels import Base, HeldToken
from services.preflight.handler import Recording
from shared.db.engine import open_engine
from shared.domain.money import Side
from shared.messages.base import Message
from shared.messages.intents import CopyCause, Intent, LeaderLevel, OrderType
from shared.messages.refusals import Refusal
from tests.builders import (
    LEADER,
    NOON,
    PROXY,
    TOKEN,
    a_follow,
    an_intent,
    an_outcome,
    approved,
    controls,
    facts,
    refused,
    seconds,
    shares,
    usdc,
)
from tests.integration.db.plans import (
    Plan,
    recorded_plans,
    require_linear,
    require_no_history,
)
from tests.integration.preflight.history import HELD, insert_history
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

HISTORY = {"preflight.intents", "preflight.verdicts", "preflight.exits"}
MAX_ROWS = 60
"""Of the history: those that are named, and the newest of each token that a follow holds."""
MAX_OTHER_ROWS = 1000
"""Of what is open, held or recent: small tables may be read as a whole."""
FOLLOW = a_follow(follow_id="follow-1", proxy=PROXY)
LIMITS = Limits(
    max_quote_age=seconds(5),
    max_last_book_age=seconds(20),
    max_bound_age=seconds(70),
    max_entry_age=seconds(60),
    max_exit_age=seconds(600),
    max_trade_usdc=usdc(1000),
    max_follower_daily_usdc=usdc(10**6),
    max_market_daily_usdc=usdc(10**6),
    max_global_daily_usdc=usdc(10**6),
    max_open_positions=1000,
    max_entries_per_minute=1000,
)
CAPS = facts(market_daily_cap_usdc=usdc(10**6), global_daily_cap_usdc=usdc(10**6))
"""What one statement can record."""
CAPPED = CAPS.model_copy(update={"max_open_positions": 1000, "max_entries_per_minute": 1000})


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


def intent(number: int, **fields: Any) -> Intent:
    return an_intent(
        **{
            "intent_id": f"i{NOON:%Y%m%d}-{number:024x}",
            "follow_id": FOLLOW.follow_id,
            "leader": LEADER,
            "proxy": PROXY,
            "token_id": TOKEN,
        }
        | fields
    )


def a_sale(number: int, **fields: Any) -> Intent:
    return intent(number, side=Side.SELL, **fields)


def an_exit(sale: Intent, *, awaited: Sequence[Intent]) -> Exit:
    return Exit(
        intent=sale,
        base_shares=shares(5),
        awaited_entries=tuple(each.intent_id for each in awaited),
        awaited_exits=("e1",),
        shares=None,
        sold_shares=0,
        attempts=1,
        state=ExitState.OPEN,
        reason="",
        next_attempt_at=NOON + seconds(60),
        expires_at=NOON + seconds(600),
    )


class Copying:
    """One instance of preflight; each run has its own copies."""

    def __init__(self, engine: AsyncEngine, run: int) -> None:
        self.engine, self.verdicts, self.run = engine, PostgresVerdicts(engine), run

    def intent(self, number: int, **fields: Any) -> Intent:
        return intent(100 * self.run + number, **fields)

    async def enter(self) -> Intent:
        """An entry of which all is limited, still open."""
        entry = self.intent(1)
        await self.verdicts.load_commitments(entry, limits=LIMITS, since=NOON, now=NOON)
        await self.verdicts.load_other_entries(entry, now=NOON)
        await self.verdicts.record(approved(entry, facts=CAPPED))
        alone = self.intent(6, token_id="alone")
        await self.verdicts.record_all([Recording(verdict=approved(alone, facts=CAPS))])
        return entry

    async def delay(self) -> Intent:
        """An entry that waits, and is published again."""
        entry = self.intent(2)
        await self.verdicts.delay(
            DelayedEntry(
                intent=entry,
                due_at=NOON,
                expires_at=NOON + seconds(60),
                reason=Refusal.TOO_MANY_ENTRIES,
            )
        )
        feed = DelayFeed(
            self.engine, owns=lambda _: True, now=lambda: NOON, poll_interval=seconds(1)
        )
        await feed._poll(self.ignore)
        return entry

    async def leave(self, entry: Intent, delayed: Intent) -> None:
        """A sale that awaits the entry and lets the other one go, and its next attempt."""
        sale = self.intent(3, side=Side.SELL)
        exit_ = an_exit(sale, awaited=[entry])
        await self.verdicts.load_position(sale)
        let_go = [refused(delayed, reason=Refusal.EXIT_CAME_FIRST)]
        await self.verdicts.record(refused(sale), exit_, let_go=let_go)
        await self.verdicts.record(refused(sale), exit_)
        await self.verdicts.settle(an_outcome(intent_id=entry.intent_id), now=NOON)
        due = await load_due_exits(self.engine, now=NOON + seconds(60))
        (woken,) = await load_exits(self.engine, due)
        attempt = self.intent(4, side=Side.SELL, continues=sale.intent_id)
        position = await self.verdicts.load_position(attempt)
        assert position.bought_by_entry == {entry.intent_id: an_outcome().shares}
        selling = replace(woken, shares=shares(5), attempts=2, next_attempt_at=None)
        order = approved(attempt, order_type=OrderType.FAK, usdc=0, shares=shares(5))
        await self.verdicts.record(order, selling)
        assert await self.verdicts.load_exit(attempt.intent_id) == selling
        done = replace(selling, sold_shares=shares(5), state=ExitState.DONE)
        report = an_outcome(intent_id=attempt.intent_id, side=Side.SELL, shares=shares(5))
        await self.verdicts.settle(report, done, now=NOON)

    async def reconcile(self) -> None:
        """What the leader holds is compared, and a copy by it is judged."""
        known = controls(FOLLOW)
        held = await load_held_tokens(self.engine, [FOLLOW], known)
        assert len(held) == HELD
        await load_tokens(self.engine, [(FOLLOW, each.token_id) for each in held], known)
        base = Base(leader_shares=1, block_number=self.run, accounted_at=NOON)
        await save_bases(self.engine, [(each, base) for each in held], now=NOON)
        resumed = [replace(each, base=None, resumed_at=NOON) for each in held[:1]]
        await save_bases(self.engine, [(each, base) for each in resumed], now=NOON)
        await load_held_tokens(self.engine, [FOLLOW], known)
        await self.judge_level(held[0])

    async def judge_level(self, held: HeldToken) -> None:
        level = LeaderLevel(
            block_number=self.run,
            base_block_number=self.run,
            shares=0,
            accounted_through=NOON + seconds(1),
        )
        sale = self.intent(
            5,
            side=Side.SELL,
            token_id=held.token_id,
            cause=CopyCause.RECONCILED,
            level=level,
        )
        await self.verdicts.load_position(sale)
        await self.verdicts.record(approved(sale, order_type=OrderType.FAK, usdc=0, shares=1))

    async def clean(self) -> None:
        feed = CleanupFeed(
            self.engine,
            now=lambda: NOON + timedelta(minutes=10),
            reservations_kept=timedelta(minutes=3),
            copies_kept=timedelta(minutes=5),
        )
        await feed.delete_settled()
        await feed.delete_copies()
        await feed.correct_sums()

    async def ignore(self, _: Message) -> None:
        return None


async def test_no_statement_of_a_copy_reads_the_history(engine: AsyncEngine) -> None:
    await insert_history(engine, until=NOON)

    copying = Copying(engine, run=1)
    with recorded_plans(engine) as plans:
        entry, delayed = await copying.enter(), await copying.delay()
        await copying.leave(entry, delayed)
        await copying.reconcile()
        await copying.clean()

    for plan in plans:
        require_no_history(plan, history=HISTORY, max_rows=MAX_ROWS, max_other_rows=MAX_OTHER_ROWS)
        require_linear(plan, batch=MAX_OTHER_ROWS)
    assert_all_are_known(plans)


TOUCHED = (
    "delayed_entries",
    "exits",
    "intents",
    "leader_levels",
    "newest_copies",
    "positions",
    "reservation_sums",
    "reservations",
    "spending_windows",
    "verdicts",
)


def assert_all_are_known(plans: Sequence[Plan]) -> None:
    """The statements that were seen are those of all tables: none is missing because of a change
    of how they are executed.
    """
    text = " ".join(plan.statement for plan in plans)
    assert all(f"preflight.{name}" in text for name in TOUCHED)
    assert len({plan.statement for plan in plans}) >= 25
