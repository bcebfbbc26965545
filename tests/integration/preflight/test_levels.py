"""Levels of leaders in PostgreSQL: what a round finds missing is exited once."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters.levels import load_held_tokens
from services.preflight.adapters.reconciliation import ChainLevels, ReconciliationFeed
from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.decisions import Balance, FollowPosition, Verdict
from services.preflight.handler import Handler
from shared.chain.blocks import Block, Receipt
from shared.chain.rpc import NodeRefused
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.domain.errors import Transient
from shared.domain.follows import GLOBAL, Mode
from shared.domain.money import Side
from shared.domain.terms import EndMode, ExitMode
from shared.messages.base import Message
from shared.messages.intents import (
    CopyCause,
    CopyIntended,
    Intent,
    IntentApproved,
    IntentRefused,
    Missing,
    NoQuote,
    Quote,
)
from shared.messages.refusals import Refusal
from tests.builders import (
    NOON,
    TOKEN,
    a_follow,
    a_quote,
    an_intent,
    an_outcome,
    controls,
    levels,
    quoted,
    seconds,
    shares,
    usdc,
)
from tests.fakes import Clock, FixedControls
from tests.patience import patient_settings
from tests.unit.preflight.test_exit_stories import LIMITS

pytestmark = pytest.mark.integration

ENTRY = "0x" + "e1" * 32
SALE = "0x" + "5a" * 32
KEPT_STATES = 8
"""Blocks, of a node that has lost the others."""


@dataclass
class Leaders:
    """A node that knows the leader's balance at each block: a block each second from noon on."""

    clock: Clock
    balances: dict[int, int] = field(default_factory=lambda: {0: 0})
    """From a block on."""
    mined: dict[str, int] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)
    """The tokens."""
    is_away: bool = False
    has_lost_states: bool = False

    @property
    def head(self) -> int:
        return 1000 + int((self.clock.now - NOON).total_seconds())

    def holds(self, amount: int, *, tx: str = "") -> None:
        """From now on; by a transaction in this block."""
        self.balances[self.head] = shares(amount)
        if tx:
            self.mined[tx] = self.head

    async def fetch_latest_block(self) -> Block:
        if self.is_away:
            raise Transient("no answer from the chain node")
        return (await self.fetch_blocks([self.head]))[0]

    async def fetch_blocks(self, numbers: Sequence[int]) -> list[Block]:
        begin = int(NOON.timestamp()) - 1000
        return [
            Block(number=number, hash="0x", parent_hash="0x", timestamp=begin + number)
            for number in numbers
        ]

    async def fetch_shares_at(
        self, queries: Sequence[tuple[str, int]], *, block_number: int
    ) -> list[int]:
        if self.has_lost_states and block_number < self.head - KEPT_STATES:
            raise NodeRefused("eth_call", -32000, "missing trie node")
        self.asked |= {token_id for _, token_id in queries}
        known = max(block for block in self.balances if block <= block_number)
        return [self.balances[known] for _ in queries]

    async def fetch_receipts(self, tx_hashes: Sequence[str]) -> list[Receipt | None]:
        return [
            Receipt(
                tx_hash=tx,
                block_number=self.mined[tx],
                block_hash="0x",
                succeeded=True,
                gas_used=1,
                logs=(),
            )
            if tx in self.mined
            else None
            for tx in tx_hashes
        ]


@dataclass
class Wallet:
    """A proxy that has whatever a copy asks of it."""

    clock: Clock

    def cached_balance(self, *_: object, **__: object) -> None:
        return None

    async def fetch_balance(self, intent: Intent, *, neg_risk: bool, fresh: bool) -> Balance:
        return Balance(
            usdc=usdc(10**6),
            allowance=usdc(10**6),
            shares=shares(10**6),
            shares_approved=True,
            fetched_at=self.clock.now,
            cached=False,
        )


@dataclass
class ReadBefore:
    """Verdicts as of an instance that read the position before another one wrote."""

    verdicts: PostgresVerdicts
    position: FollowPosition

    async def load_position(self, _: Intent) -> FollowPosition:
        return self.position

    def __getattr__(self, name: str) -> Any:
        return getattr(self.verdicts, name)


class Copying:
    """Preflight on a real database, with its feed, run by hand."""

    def __init__(self, engine: AsyncEngine, *, act_after: timedelta = timedelta(0)) -> None:
        self.engine, self.clock = engine, Clock(NOON)
        self.leaders, self.controls = Leaders(self.clock), FixedControls(controls(a_follow()))
        self.verdicts = PostgresVerdicts(engine)
        self.handler = Handler(
            controls=self.controls,
            balances=Wallet(self.clock),
            verdicts=self.verdicts,
            limits=LIMITS,
            retry_delay=seconds(5),
            now=lambda: self.clock.now,
        )
        self.act_after = act_after
        self.published: list[Intent] = []
        self.restart()

    def restart(self) -> None:
        self.feed = self.another_instance()

    def another_instance(self) -> ReconciliationFeed:
        return ReconciliationFeed(
            self.engine,
            self.controls,
            ChainLevels(self.leaders),  # type: ignore[arg-type]
            owns=lambda _: True,
            now=lambda: self.clock.now,
            interval=seconds(30),
            act_after=self.act_after,
        )

    def follow(self, **changes: Any) -> None:
        self.controls.controls = controls(a_follow(**changes))

    async def publish(self, message: Message) -> None:
        assert isinstance(message, CopyIntended)
        self.published.append(message.intent)

    async def round(self, *, after: int = 10) -> list[Intent]:
        """What the feed publishes in a round, some seconds later."""
        self.clock.now += seconds(after)
        before = len(self.published)
        await self.feed.compare(self.publish)
        return self.published[before:]

    async def judge(self, intent: Intent, quote: Quote | NoQuote | None = None) -> Verdict:
        book = a_quote(
            levels=levels(("0.50", 10**6)),
            shares=max(intent.shares, 1),
            fetched_at=self.clock.now,
            opposite_best="0.50",
        )
        (verdict,) = await self.handler.on_intent_quoted(quoted(quote or book, **dict(intent)))
        assert isinstance(verdict, IntentApproved | IntentRefused)
        return verdict

    async def settle(self, verdict: Verdict, sold: int) -> None:
        report = an_outcome(
            intent_id=verdict.intent_id,
            side=verdict.intent.side,
            shares=sold,
            usdc=sold // 2,
            fee_usdc=0,
        )
        await self.handler.on_order_reported(report)

    async def buy(
        self, leader_shares: int = 1000, copied: int = 50, tx: str = ENTRY, **changes: Any
    ) -> None:
        """The leader buys, and the follow's copy is settled."""
        self.leaders.holds(leader_shares, tx=tx)
        verdict = await self.judge(self.trade(Side.BUY, leader_shares, tx=tx, **changes))
        await self.settle(verdict, shares(copied))

    def trade(self, side: Side, leader_shares: int, *, tx: str, **changes: Any) -> Intent:
        fields = {
            "intent_id": tx[2:34],
            "transaction_hash": tx,
            "side": side,
            "leader_shares": shares(leader_shares),
            "leader_held_shares": shares(1000) if side is Side.SELL else None,
            "filled_at": self.clock.now,
            "seen_at": self.clock.now,
            "intended_at": self.clock.now,
            "shares": shares(10),
        }
        return an_intent(**fields | changes)

    async def exits(self) -> list[tuple[str, str]]:
        async with transaction(self.engine) as connection:
            rows = await fetch_rows(
                connection, "select state, reason from preflight.exits order by expires_at"
            )
        return [(row.state, row.reason) for row in rows]

    async def level(self) -> Any:
        async with transaction(self.engine) as connection:
            (row,) = await fetch_rows(connection, "select * from preflight.leader_levels")
        return row


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


@pytest.fixture
def copying(engine: AsyncEngine) -> Copying:
    return Copying(engine)


async def test_a_counter_follow_exits_when_the_leader_gets_rid_of_the_other_outcome(
    copying: Copying,
) -> None:
    copying.follow(counter=True)
    await copying.buy(token_id="7", leader_token_id=TOKEN)
    assert await copying.round() == []
    copying.leaders.holds(600)

    (intent,) = await copying.round()
    verdict = await copying.judge(intent)

    assert copying.leaders.asked == {int(TOKEN)}
    assert (intent.token_id, intent.leader_token_id) == ("7", TOKEN)
    assert isinstance(verdict, IntentApproved)
    assert verdict.shares == shares(20)


async def test_what_a_follow_bought_before_its_direction_changed_is_compared_anew(
    copying: Copying,
) -> None:
    copying.follow(counter=True)
    await copying.buy(token_id="7", leader_token_id=TOKEN)
    assert await copying.round() == []
    copying.follow(counter=False)
    await copying.buy(300, copied=10, tx=SALE, token_id="7")
    assert await copying.round() == []
    assert (await copying.level()).leader_token_id == "7"
    copying.leaders.holds(150)

    (intent,) = await copying.round()
    verdict = await copying.judge(intent)

    assert (intent.token_id, intent.leader_token_id) == ("7", "")
    assert isinstance(verdict, IntentApproved)
    assert verdict.shares == shares(30)


@pytest.mark.parametrize("title", ["\x00", "\\u0000", "\\\x00 \\\\u0000"])
async def test_a_title_may_contain_what_postgresql_cannot_have_in_text(
    copying: Copying, title: str
) -> None:
    await copying.buy(title=title)
    assert await copying.round() == []
    copying.leaders.holds(600)

    assert [intent.cause for intent in await copying.round()] == [CopyCause.RECONCILED]


async def test_a_leader_who_merges_is_followed_in_proportion(copying: Copying) -> None:
    await copying.buy()
    assert await copying.round() == []
    copying.leaders.holds(600)

    (intent,) = await copying.round()
    verdict = await copying.judge(intent)

    assert isinstance(verdict, IntentApproved)
    assert (intent.cause, verdict.shares) == (CopyCause.RECONCILED, shares(20))
    await copying.settle(verdict, shares(20))
    assert await copying.round() == []
    assert await copying.exits() == [("done", "")]
    assert (await copying.level()).leader_shares == shares(600)


async def test_the_base_is_what_he_held_when_his_trade_was_settled(copying: Copying) -> None:
    """The first comparison comes after he has sold: it asks for the block of his last trade."""
    await copying.buy()
    copying.clock.now += seconds(5)
    copying.leaders.holds(600)

    assert await copying.round() == []
    (intent,) = await copying.round()

    assert intent.leader_shares == shares(400)


async def test_a_node_that_has_lost_the_state_gives_what_he_holds_now(copying: Copying) -> None:
    await copying.buy()
    copying.clock.now += seconds(5)
    copying.leaders.holds(600)
    copying.leaders.has_lost_states = True

    assert [await copying.round(), await copying.round()] == [[], []]
    assert (await copying.level()).leader_shares == shares(600)


async def test_a_sale_that_was_seen_too_late_is_missed_and_made_good(copying: Copying) -> None:
    await copying.buy()
    await copying.round()
    copying.clock.now += seconds(5)
    copying.leaders.holds(0, tx=SALE)
    sale = copying.trade(Side.SELL, 1000, tx=SALE)
    copying.clock.now += LIMITS.max_exit_age + seconds(60)

    assert isinstance(await copying.judge(sale), IntentRefused)
    assert await copying.exits() == [("missed", "trade_too_old")]
    (intent,) = await copying.round()
    verdict = await copying.judge(intent)

    assert isinstance(verdict, IntentApproved)
    assert verdict.shares == shares(50)


async def test_a_sale_that_the_level_has_shown_is_not_copied_again(copying: Copying) -> None:
    """The feeds bring it after the exit by level; then he sells more, which is copied."""
    await copying.buy()
    await copying.round()
    copying.clock.now += seconds(5)
    copying.leaders.holds(600, tx=SALE)
    late = copying.trade(Side.SELL, 400, tx=SALE)
    (intent,) = await copying.round()
    await copying.settle(await copying.judge(intent), shares(20))

    verdict = await copying.judge(late)
    assert isinstance(verdict, IntentRefused)
    assert verdict.reason is Refusal.ALREADY_RECONCILED
    assert await copying.round() == []

    copying.leaders.holds(300, tx="0x" + "5b" * 32)
    next_sale = copying.trade(Side.SELL, 300, tx="0x" + "5b" * 32, leader_held_shares=shares(600))
    copied = await copying.judge(next_sale)
    assert isinstance(copied, IntentApproved)
    assert copied.shares == shares(15)


async def test_a_sale_that_waited_to_be_judged_is_not_sold_again_by_the_level(
    copying: Copying,
) -> None:
    """Its copy and the one by level are in the queue of the follower, in this order."""
    await copying.buy()
    await copying.round()
    copying.leaders.holds(500, tx=SALE)
    sale = copying.trade(Side.SELL, 500, tx=SALE)
    (by_level,) = await copying.round()

    copied = await copying.judge(sale)
    await copying.settle(copied, shares(25))
    verdict = await copying.judge(by_level)

    assert isinstance(copied, IntentApproved)
    assert isinstance(verdict, IntentRefused)
    assert (copied.shares, verdict.reason) == (shares(25), Refusal.ALREADY_RECONCILED)
    assert [await copying.round() for _ in range(2)] == [[], []]
    assert (await copying.level()).leader_shares == shares(500)


async def test_a_level_that_a_trade_has_superseded_is_intended_anew(copying: Copying) -> None:
    """He sells 200, and loses 300 otherwise."""
    await copying.buy()
    await copying.round()
    copying.leaders.holds(500, tx=SALE)
    sale = copying.trade(Side.SELL, 200, tx=SALE)
    (by_level,) = await copying.round()
    await copying.settle(await copying.judge(sale), shares(10))
    assert isinstance(await copying.judge(by_level), IntentRefused)

    (again,) = await copying.round()

    assert again.leader_shares == shares(300)
    assert isinstance(await copying.judge(again), IntentApproved)


async def test_a_trade_that_another_instance_has_judged_meanwhile_supersedes_the_level(
    copying: Copying,
) -> None:
    """The level is judged by what was known before."""
    await copying.buy()
    await copying.round()
    copying.leaders.holds(500, tx=SALE)
    sale = copying.trade(Side.SELL, 500, tx=SALE)
    (by_level,) = await copying.round()
    known = await copying.verdicts.load_position(by_level)
    await copying.judge(sale)
    own = copying.handler
    copying.handler = replace(own, verdicts=ReadBefore(copying.verdicts, known))
    with pytest.raises(Transient, match="judged meanwhile"):
        await copying.judge(by_level)

    copying.handler = own
    assert isinstance(await copying.judge(by_level), IntentRefused)


async def test_a_follow_that_copies_no_exits_keeps_up_with_its_leaders_trades(
    copying: Copying,
) -> None:
    copying.follow(exits=ExitMode.NONE)
    await copying.buy()
    await copying.round()
    for n in range(1, 6):
        tx = f"0x{n:064x}"
        copying.leaders.holds(1000 - n, tx=tx)
        await copying.judge(copying.trade(Side.SELL, 1, tx=tx))

    assert await copying.round() == []

    (held,) = await load_held_tokens(copying.engine, [a_follow()], controls())
    assert (held.trades, (await copying.level()).leader_shares) == ((), shares(995))


async def test_what_left_the_leader_while_halted_is_exited_afterwards(copying: Copying) -> None:
    """His trades are accounted for meanwhile; 400 he lost without any."""
    await copying.buy()
    await copying.round()
    copying.controls.controls = controls(a_follow(), modes={GLOBAL: Mode.HALTED})
    copying.leaders.holds(500, tx=SALE)
    await copying.judge(copying.trade(Side.BUY, 100, tx="0x" + "e2" * 32))
    copying.leaders.holds(700, tx="0x" + "e2" * 32)

    assert await copying.round() == []
    (held,) = await load_held_tokens(copying.engine, [a_follow()], controls())
    copying.follow()
    (intent,) = await copying.round()

    assert held.trades == ()
    assert (intent.leader_shares, intent.leader_held_shares) == (shares(400), shares(1100))


async def test_a_reading_is_published_once_and_again_after_a_restart(copying: Copying) -> None:
    """The second intent is of the same level: preflight refuses it, nothing is sold twice."""
    await copying.buy()
    await copying.round()
    copying.leaders.holds(600)

    (first,) = await copying.round()
    assert await copying.round() == []
    copying.restart()
    (second,) = await copying.round()
    verdicts = [await copying.judge(intent) for intent in (first, second)]

    assert isinstance(verdicts[0], IntentApproved)
    assert isinstance(verdicts[1], IntentRefused)
    assert verdicts[1].reason is Refusal.ALREADY_RECONCILED
    assert await copying.judge(first) == verdicts[0]


async def test_two_instances_of_one_moment_intend_the_same(copying: Copying) -> None:
    await copying.buy()
    await copying.round()
    copying.leaders.holds(600)

    (first,) = await copying.round()
    other = copying.another_instance()
    await other.compare(copying.publish)

    assert copying.published[-1].intent_id == first.intent_id


async def test_what_is_missing_must_be_seen_for_a_time(engine: AsyncEngine) -> None:
    copying = Copying(engine, act_after=seconds(60))
    await copying.buy()
    await copying.round()
    copying.leaders.holds(600)

    assert [await copying.round(after=30) for _ in range(2)] == [[], []]
    assert len(await copying.round(after=30)) == 1


async def test_nothing_is_compared_while_the_node_is_away(copying: Copying) -> None:
    """An error is not a zero."""
    await copying.buy()
    await copying.round()
    copying.leaders.holds(600)
    copying.leaders.is_away = True

    with pytest.raises(Transient):
        await copying.round()

    assert copying.published == []


async def test_nothing_is_compared_while_an_entry_is_open(copying: Copying) -> None:
    await copying.buy()
    await copying.round()
    copying.leaders.holds(1500, tx="0x" + "e2" * 32)
    entry = await copying.judge(copying.trade(Side.BUY, 500, tx="0x" + "e2" * 32))
    copying.leaders.holds(0)

    assert await copying.round() == []
    await copying.settle(entry, shares(10))
    assert len(await copying.round()) == 1


async def test_a_level_that_was_not_acted_on_is_intended_again(copying: Copying) -> None:
    """Its intent was judged after its time."""
    await copying.buy()
    await copying.round()
    copying.leaders.holds(600)
    (intent,) = await copying.round()
    copying.clock.now += LIMITS.max_exit_age + seconds(1)

    late = await copying.judge(intent)
    assert isinstance(late, IntentRefused)
    assert late.reason is Refusal.TRADE_TOO_OLD
    assert len(await copying.round()) == 1


async def test_a_market_that_has_ended_is_tried_once(copying: Copying) -> None:
    """The leader redeems; the venue has no book any more."""
    await copying.buy()
    await copying.round()
    copying.leaders.holds(0)

    (intent,) = await copying.round()
    await copying.judge(intent, NoQuote(missing=Missing.NO_MARKET))

    assert [await copying.round() for _ in range(3)] == [[], [], []]
    assert await copying.exits() == [("unsold", "no_market")]


@pytest.mark.parametrize(
    ("changes", "causes"),
    [
        ({"active": False, "at_end": EndMode.CLOSE_OUT}, [CopyCause.ENDED]),
        ({"active": False, "at_end": EndMode.CLOSE_OUT, "exits": ExitMode.NONE}, [CopyCause.ENDED]),
        ({"active": False, "at_end": EndMode.KEEP}, []),
        ({"active": False, "at_end": EndMode.FOLLOW}, []),
    ],
)
async def test_an_ended_follow_does_what_its_terms_say(
    copying: Copying, changes: dict[str, Any], causes: list[CopyCause]
) -> None:
    await copying.buy()
    await copying.round()
    copying.follow(**changes)

    intents = await copying.round()
    verdicts = [await copying.judge(intent) for intent in intents]

    assert [intent.cause for intent in intents] == causes
    for verdict in verdicts:
        assert isinstance(verdict, IntentApproved)
        assert verdict.shares == shares(50)
        await copying.settle(verdict, shares(50))
    assert await copying.round() == []


async def test_an_ended_follow_that_follows_to_the_end_exits_with_its_leader(
    copying: Copying,
) -> None:
    await copying.buy()
    await copying.round()
    copying.follow(active=False, at_end=EndMode.FOLLOW)
    copying.leaders.holds(0)

    (intent,) = await copying.round()

    assert isinstance(await copying.judge(intent), IntentApproved)
    refusal = await copying.judge(copying.trade(Side.BUY, 100, tx="0x" + "e2" * 32))
    assert isinstance(refusal, IntentRefused)
    assert refusal.reason is Refusal.NOT_FOLLOWED


async def test_closing_sells_everything_once(copying: Copying) -> None:
    """An exit that ends with a part left is made again for that part, and no further."""
    await copying.buy()
    await copying.round()
    copying.controls.controls = controls(a_follow(), modes={GLOBAL: Mode.CLOSING})

    (intent,) = await copying.round()
    verdict = await copying.judge(intent)
    assert isinstance(verdict, IntentApproved)
    await copying.settle(verdict, shares(30))
    async with transaction(copying.engine) as connection:
        await connection.execute(text("update preflight.exits set state = 'unsold'"))
    (rest,) = await copying.round()
    await copying.judge(rest, NoQuote(missing=Missing.NO_MARKET))

    assert rest.leader_shares == shares(20)
    assert await copying.round() == []


async def test_each_close_out_sells_what_the_one_before_has_left(copying: Copying) -> None:
    """The follow does not change; the mode does."""
    await copying.buy()
    await copying.round()
    for version in (8, 10):
        copying.controls.controls = replace(
            controls(a_follow(), modes={GLOBAL: Mode.CLOSING}),
            version_by_scope={GLOBAL: version},
        )
        (intent,) = await copying.round()
        await copying.judge(intent, NoQuote(missing=Missing.NO_MARKET))
        assert (await copying.round(), intent.controls_version) == ([], version)
        copying.follow()
        assert await copying.round() == []


class Resuming(Copying):
    """The follow ends and keeps 50; its leader holds something else when it begins again."""

    async def resume(self, now_holds: int, **changes: Any) -> None:
        await self.buy()
        await self.round()
        self.follow(active=False, at_end=EndMode.KEEP, version=8)
        self.leaders.holds(now_holds)
        self.clock.now += timedelta(days=3)
        assert await self.round() == []
        self.controls.controls = replace(
            controls(a_follow(version=9, **changes)),
            resumed_at_by_follow={"follow-1": self.clock.now},
        )


@pytest.mark.parametrize("now_holds", [0, 600])
async def test_what_was_kept_is_not_sold_by_what_happened_meanwhile(
    engine: AsyncEngine, now_holds: int
) -> None:
    resuming = Resuming(engine)
    await resuming.resume(now_holds)

    assert [await resuming.round() for _ in range(3)] == [[], [], []]
    assert (await resuming.level()).leader_shares == shares(now_holds)


async def test_what_was_kept_follows_what_the_leader_does_afterwards(engine: AsyncEngine) -> None:
    resuming = Resuming(engine)
    await resuming.resume(600)
    await resuming.round()
    resuming.leaders.holds(300)

    (intent,) = await resuming.round()

    verdict = await resuming.judge(intent)
    assert isinstance(verdict, IntentApproved)
    assert verdict.shares == shares(25)


async def test_what_was_kept_is_sold_when_the_leader_is_out_again(engine: AsyncEngine) -> None:
    resuming = Resuming(engine)
    await resuming.resume(0)
    await resuming.round()
    await resuming.buy(1000, copied=50, tx=SALE)
    await resuming.round()
    resuming.leaders.holds(0)

    (intent,) = await resuming.round()

    verdict = await resuming.judge(intent)
    assert isinstance(verdict, IntentApproved)
    assert verdict.shares == shares(100)
