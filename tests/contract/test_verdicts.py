"""The store of verdicts: the fake and PostgreSQL behave alike."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.decisions import (
    Commitments,
    DelayedEntry,
    Exit,
    ExitState,
    FollowPosition,
    Limits,
    Verdict,
    reserved_usdc,
)
from services.preflight.handler import CommitmentsQuery, Recording, Verdicts
from shared.db.engine import open_engine
from shared.domain.errors import Transient
from shared.domain.ids import follow_id
from shared.domain.money import Side
from shared.messages.intents import Intent, IntentApproved, IntentRefused, OrderType, VerdictFacts
from shared.messages.orders import OrderReported, OrderState
from shared.messages.refusals import Refusal
from tests.builders import (
    LEADER,
    NOON,
    OTHER_PROXY,
    PROXY,
    an_intent,
    an_outcome,
    approved,
    facts,
    refused,
    seconds,
    shares,
    usdc,
)
from tests.fakes import FakeVerdicts
from tests.patience import patient_settings

TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
EARLIER, LATER = NOON - seconds(1), NOON + seconds(1)
FOLLOW = follow_id(leader=LEADER, proxy=PROXY)
RESERVED = reserved_usdc(approved())
UNLIMITED = Limits(
    max_quote_age=seconds(5),
    max_last_book_age=seconds(20),
    max_bound_age=seconds(70),
    max_entry_age=seconds(60),
    max_exit_age=seconds(600),
    max_trade_usdc=usdc(1000),
)
LIMITED = replace(
    UNLIMITED,
    max_market_daily_usdc=usdc(100),
    max_global_daily_usdc=usdc(100),
    max_open_positions=3,
    max_entries_per_minute=3,
)
SHARED = facts(market_daily_cap_usdc=usdc(10**6), global_daily_cap_usdc=usdc(10**6))


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.integration)])
async def processes(request: pytest.FixtureRequest) -> AsyncIterator[Sequence[Verdicts]]:
    """The same store as two processes have it."""
    if request.param == "fake":
        yield [FakeVerdicts()] * 2
        return
    settings = patient_settings(request.getfixturevalue("migrated_database_url"))
    engines = [open_engine(settings) for _ in range(2)]
    yield [PostgresVerdicts(engine) for engine in engines]
    for engine in engines:
        await engine.dispose()


@pytest.fixture
def verdicts(processes: Sequence[Verdicts]) -> Verdicts:
    return processes[0]


def entry(name: str = "a", *, proxy: str = PROXY, **overrides: Any) -> IntentApproved:
    follow = follow_id(leader=LEADER, proxy=proxy)
    return approved(an_intent(intent_id=name * 32, proxy=proxy, follow_id=follow), **overrides)


def exit_(name: str = "e", **overrides: Any) -> IntentApproved:
    return approved(a_sale(name), order_type=OrderType.FAK, usdc=0, shares=shares(10), **overrides)


def a_sale(name: str, **overrides: Any) -> Intent:
    fields = {"intent_id": name * 32, "side": Side.SELL, "follow_id": FOLLOW}
    return an_intent(**fields | overrides)


def refusal(name: str = "a") -> IntentRefused:
    return refused(an_intent(intent_id=name * 32))


async def load_commitments(
    verdicts: Verdicts,
    *,
    proxy: str = PROXY,
    limits: Limits = UNLIMITED,
    side: Side = Side.BUY,
    **at: Any,
) -> Commitments:
    follow = follow_id(leader=LEADER, proxy=proxy)
    intent = an_intent(intent_id="f" * 32, proxy=proxy, follow_id=follow, side=side)
    return await verdicts.load_commitments(
        intent, limits=limits, **{"since": LATER, "now": NOON} | at
    )


async def test_the_first_verdict_of_an_intent_is_kept_and_returned(verdicts: Verdicts) -> None:
    first, second = entry(), refusal()

    assert await verdicts.record(first) == first
    assert await verdicts.record(second) == first
    assert (await verdicts.record(second)).model_dump_json() == first.model_dump_json()


async def test_a_refusal_is_kept_too_and_reserves_nothing(verdicts: Verdicts) -> None:
    assert await verdicts.record(refusal()) == refusal()
    assert await verdicts.record(entry()) == refusal()
    assert await load_commitments(verdicts, since=EARLIER) == Commitments(
        usdc=0, spent_today=0, follower_spent_today=0
    )


async def test_an_entry_reserves_usdc_with_its_fee_and_counts_in_the_cap_without(
    verdicts: Verdicts,
) -> None:
    await verdicts.record(entry())

    assert await load_commitments(verdicts) == Commitments(
        usdc=RESERVED, spent_today=usdc(5), follower_spent_today=usdc(5)
    )


async def test_an_exit_reserves_shares_of_its_follow_and_token_alone(verdicts: Verdicts) -> None:
    await verdicts.record(exit_())

    async def load_reserved(**intent: Any) -> int:
        return (await verdicts.load_position(a_sale("f", **intent))).reserved_shares

    assert await load_reserved() == shares(10)
    assert await load_reserved(token_id="12") == 0
    assert await load_reserved(follow_id="follow-2") == 0
    assert (await verdicts.load_position(a_sale("e"))).reserved_shares == 0


async def test_a_redelivery_reserves_nothing_twice(verdicts: Verdicts) -> None:
    for _ in range(3):
        await verdicts.record(entry())

    assert (await load_commitments(verdicts)).usdc == RESERVED


async def test_other_proxies_are_counted_separately(verdicts: Verdicts) -> None:
    await verdicts.record(entry())

    assert await load_commitments(verdicts, proxy=OTHER_PROXY) == Commitments(
        usdc=0, spent_today=0, follower_spent_today=0
    )


@pytest.mark.parametrize(
    ("later", "counted"),
    [
        (timedelta(hours=-1), usdc(5)),  # by another clock, or another process
        (timedelta(hours=23, minutes=59), usdc(5)),
        (timedelta(hours=24), usdc(5)),
        (timedelta(hours=24, minutes=59), usdc(5)),
        (timedelta(hours=25), 0),
    ],
)
async def test_an_entry_counts_for_the_rest_of_its_hour_and_24_full_hours(
    verdicts: Verdicts, later: timedelta, counted: int
) -> None:
    await verdicts.record(entry())

    loaded = await load_commitments(verdicts, now=NOON + later)

    assert (loaded.spent_today, loaded.follower_spent_today) == (counted, counted)


async def test_an_entry_from_before_the_turn_of_an_hour_sees_the_one_from_after_it(
    verdicts: Verdicts,
) -> None:
    """Another process recorded first, under the later hour."""
    cap = facts(daily_cap_usdc=usdc(9))
    await verdicts.record(entry("a", facts=cap))

    with pytest.raises(Transient):
        await verdicts.record(entry("b", facts=cap, occurred_at=NOON - seconds(1)))


async def test_a_cap_has_room_again_once_its_hours_are_over(verdicts: Verdicts) -> None:
    cap = facts(daily_cap_usdc=usdc(9))
    for number, name in enumerate("abc"):
        moment = NOON + number * timedelta(hours=25)
        recorded = await verdicts.record(entry(name, facts=cap, occurred_at=moment))
        assert isinstance(recorded, IntentApproved)


async def test_the_cap_can_be_used_exactly_and_beyond_it_nothing_is_recorded(
    verdicts: Verdicts,
) -> None:
    cap = facts(daily_cap_usdc=usdc(10))
    await verdicts.record(entry("a", facts=cap))
    await verdicts.record(entry("b", facts=cap))

    with pytest.raises(Transient):
        await verdicts.record(entry("c", facts=cap))

    assert await load_commitments(verdicts) == Commitments(
        usdc=2 * RESERVED, spent_today=usdc(10), follower_spent_today=usdc(10)
    )
    assert await verdicts.record(refusal("c")) == refusal("c")


async def test_of_concurrent_entries_for_the_rest_of_a_cap_one_succeeds(verdicts: Verdicts) -> None:
    cap = facts(daily_cap_usdc=usdc(7))
    await verdicts.record(entry("0", facts=facts(daily_cap_usdc=usdc(7)), usdc=usdc(2)))

    outcomes = await asyncio.gather(
        *(verdicts.record(entry(name, facts=cap)) for name in "abcdef"), return_exceptions=True
    )

    assert sum(isinstance(outcome, IntentApproved) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Transient) for outcome in outcomes) == 5
    assert (await load_commitments(verdicts)).spent_today == usdc(7)


async def test_a_verdict_that_fails_does_not_fail_the_others_of_its_group(
    verdicts: Verdicts,
) -> None:
    valid = [entry(name, proxy=f"0x{number:040x}") for number, name in enumerate("abcdef", 1)]
    over_cap = entry("9", proxy=OTHER_PROXY, facts=facts(daily_cap_usdc=0))

    outcomes = await asyncio.gather(
        *map(verdicts.record, [*valid[:3], over_cap, *valid[3:]]), return_exceptions=True
    )

    assert isinstance(outcomes.pop(3), Transient)
    assert outcomes == valid


def recordings(*verdicts: Verdict) -> list[Recording]:
    return [Recording(verdict=each) for each in verdicts]


async def test_verdicts_of_many_proxies_are_recorded_together(verdicts: Verdicts) -> None:
    known = entry("c", proxy=f"0x{3:040x}")
    of_other = a_sale("e", proxy=f"0x{4:040x}", follow_id="follow-4")
    sale = approved(of_other, order_type=OrderType.FAK, usdc=0, shares=shares(5))
    await verdicts.record(known)
    again = refused(known.intent)
    exit_row = an_exit("e", base_shares=shares(5), shares=shares(5))
    given: list[Verdict] = [entry("a"), entry("b", proxy=OTHER_PROXY), again]

    recorded = await verdicts.record_all(
        [*recordings(*given), Recording(verdict=sale, exit=exit_row, traceparent=TRACE)]
    )

    assert recorded == [*given[:2], known, sale]
    assert await verdicts.load_exit(sale.intent_id) == replace(exit_row, traceparent=TRACE)
    queries = [
        CommitmentsQuery(intent=each.intent, limits=UNLIMITED, since=LATER, now=NOON)
        for each in recorded
    ]
    loaded = await verdicts.load_all_commitments(queries)
    assert [each.usdc for each in loaded] == [RESERVED, RESERVED, RESERVED, 0]


async def test_where_one_verdict_exceeds_a_cap_none_of_its_batch_is_recorded(
    verdicts: Verdicts,
) -> None:
    over_cap = entry("9", proxy=OTHER_PROXY, facts=facts(daily_cap_usdc=usdc(1)))

    with pytest.raises(Transient):
        await verdicts.record_all(recordings(entry("a"), over_cap))

    assert (await load_commitments(verdicts)).usdc == 0
    assert await verdicts.record(refusal("a")) == refusal("a")


@pytest.mark.parametrize("cap", ["market_daily_cap_usdc", "global_daily_cap_usdc"])
async def test_the_entries_of_a_batch_count_against_the_cap_that_they_share(
    verdicts: Verdicts, cap: str
) -> None:
    def batch(first: int, count: int, most: int) -> list[Recording]:
        capped = facts(**{cap: most})
        return recordings(*(an_entry(first + n, facts=capped) for n in range(count)))

    assert len(await verdicts.record_all(batch(1, 3, usdc(15)))) == 3
    with pytest.raises(Transient):
        await verdicts.record_all(batch(11, 2, usdc(24)))
    assert len(await verdicts.record_all(batch(21, 2, usdc(25)))) == 2


async def test_the_processes_together_never_exceed_a_cap_that_their_batches_share(
    processes: Sequence[Verdicts],
) -> None:
    capped = facts(global_daily_cap_usdc=usdc(31))

    async def record(process: int, first: int) -> int:
        batch = recordings(*(an_entry(first + n, facts=capped) for n in range(2)))
        try:
            return len(await processes[process].record_all(batch))
        except Transient as error:
            if "daily cap" not in str(error):  # as after a deadlock
                raise
            return 0

    counts = await asyncio.gather(*(record(n % 2, 10 * n + 1) for n in range(10)))

    assert sum(counts) == 6
    assert (await load_shared(processes[0]))[1] == usdc(30)


@pytest.mark.parametrize(
    "limited", [{"max_open_positions": 1}, {"max_entries_per_minute": 1}], ids=str
)
async def test_what_is_counted_again_is_counted_for_a_batch_too(
    verdicts: Verdicts, limited: dict[str, int]
) -> None:
    await verdicts.record(an_entry(1, token_id="12", facts=facts(**limited)))

    with pytest.raises(Transient):
        await verdicts.record_all(
            recordings(
                an_entry(2, facts=facts(**limited)),
                approved(
                    an_intent(
                        intent_id="9" * 32,
                        proxy=f"0x{1:040x}",
                        follow_id="follow-1",
                    ),
                    facts=facts(**limited),
                ),
            )
        )


async def test_positions_are_loaded_together_with_all_that_each_awaits(
    verdicts: Verdicts,
) -> None:
    await verdicts.record(entry("a"))
    await verdicts.record(
        refused(a_sale("b"), reason=Refusal.AWAITS_ENTRY),
        an_exit("b", awaited_entries=("a" * 32,), shares=None),
    )
    await verdicts.delay(a_delay("c"))
    sales = [
        a_sale("d"),
        a_sale("e", proxy=OTHER_PROXY, follow_id="another"),
        a_sale("f", continues="b" * 32),
        a_sale("1", token_id="12"),
    ]

    loaded = await verdicts.load_positions(sales)

    assert list(loaded) == [await verdicts.load_position(each) for each in sales]
    first, other, continued, _ = loaded
    assert (first.open_entries, len(first.open_exits)) == (("a" * 32,), 1)
    assert first.delayed_entries == (a_delay("c").intent,)
    assert other == FollowPosition()
    assert continued.exit is not None
    assert continued.bought_by_entry == {"a" * 32: None}


@pytest.mark.parametrize(
    "state", [OrderState.KILLED, OrderState.REJECTED, OrderState.WITHDRAWN, OrderState.FAILED]
)
async def test_an_order_without_a_fill_releases_its_whole_reservation(
    verdicts: Verdicts, state: OrderState
) -> None:
    await verdicts.record(entry())

    await verdicts.settle(
        an_outcome(intent_id="a" * 32, state=state, shares=0, usdc=0, fee_usdc=0), now=NOON
    )

    assert await load_commitments(verdicts, since=EARLIER) == Commitments(
        usdc=0, spent_today=0, follower_spent_today=0
    )


async def test_a_filled_order_releases_exactly_what_it_did_not_use_and_only_once(
    verdicts: Verdicts,
) -> None:
    await verdicts.record(entry())
    filled = an_outcome(intent_id="a" * 32, usdc=usdc(4), fee_usdc=usdc("0.05"))

    for _ in range(3):
        await verdicts.settle(filled, now=NOON)

    assert await load_commitments(verdicts, since=EARLIER) == Commitments(
        usdc=usdc("4.05"), spent_today=usdc(4), follower_spent_today=usdc(4)
    )


async def test_a_settled_order_counts_until_the_balance_was_read_after_it(
    verdicts: Verdicts,
) -> None:
    await verdicts.record(entry())
    await verdicts.settle(an_outcome(intent_id="a" * 32, usdc=usdc(4), fee_usdc=0), now=NOON)

    read_before, read_after = (
        await load_commitments(verdicts, since=EARLIER),
        await load_commitments(verdicts, since=NOON),
    )

    assert (read_before.usdc, read_after.usdc) == (usdc(4), 0)


async def test_a_later_settlement_releases_the_cap_in_the_hour_of_the_verdict(
    verdicts: Verdicts,
) -> None:
    await verdicts.record(entry("a"))
    await verdicts.record(entry("b", occurred_at=NOON + timedelta(hours=2)))
    nothing = an_outcome(intent_id="a" * 32, usdc=0, fee_usdc=0, shares=0)

    await verdicts.settle(nothing, now=NOON + timedelta(hours=3))

    for hours, counted in ((3, usdc(5)), (26, usdc(5)), (27, 0)):
        loaded = await load_commitments(verdicts, now=NOON + timedelta(hours=hours))
        assert loaded.spent_today == counted


async def test_a_settlement_after_days_releases_nothing_of_the_present(verdicts: Verdicts) -> None:
    await verdicts.record(entry("a"))
    later = NOON + timedelta(days=3)
    await verdicts.record(entry("b", occurred_at=later))

    await verdicts.settle(an_outcome(intent_id="a" * 32, usdc=0, fee_usdc=0, shares=0), now=later)

    assert (await load_commitments(verdicts, now=later)).spent_today == usdc(5)


async def test_settling_an_intent_that_was_not_approved_changes_nothing(verdicts: Verdicts) -> None:
    await verdicts.record(refusal())

    await verdicts.settle(an_outcome(intent_id="a" * 32), now=NOON)
    await verdicts.settle(an_outcome(intent_id="9" * 32), now=NOON)

    assert await load_commitments(verdicts, since=EARLIER) == Commitments(
        usdc=0, spent_today=0, follower_spent_today=0
    )


async def test_each_caller_of_a_large_group_gets_its_own_result(verdicts: Verdicts) -> None:
    given = [
        approved(
            an_intent(
                intent_id=f"{number:032x}", proxy=f"0x{number:040x}", follow_id=f"follow-{number}"
            )
        )
        for number in range(1, 501)
    ]

    assert await asyncio.gather(*map(verdicts.record, given)) == given
    loaded = await asyncio.gather(
        *(load_commitments(verdicts, proxy=verdict.intent.proxy) for verdict in given)
    )
    assert {each.usdc for each in loaded} == {RESERVED}


def an_exit(name: str = "e", **overrides: Any) -> Exit:
    base = Exit(
        intent=a_sale(name),
        base_shares=shares(10),
        shares=shares(10),
        attempts=1,
        expires_at=NOON + seconds(600),
    )
    return replace(base, **overrides)


def sold(name: str = "e", **overrides: Any) -> OrderReported:
    fields = {"intent_id": name * 32, "side": Side.SELL, "shares": shares(4), "usdc": usdc(2)}
    return an_outcome(**fields | overrides)


async def buy(verdicts: Verdicts, name: str, bought: int, **intent: Any) -> None:
    """Let an entry be approved and settled."""
    await verdicts.record(
        approved(
            an_intent(**{"intent_id": name * 32, "follow_id": FOLLOW} | intent),
            facts=facts(daily_cap_usdc=usdc(10**6)),
        )
    )
    await verdicts.settle(an_outcome(intent_id=name * 32, shares=bought, usdc=1), now=NOON)


async def test_a_position_is_what_settled_copies_of_the_follow_bought_and_did_not_sell(
    verdicts: Verdicts,
) -> None:
    await buy(verdicts, "a", shares(10))
    await buy(verdicts, "b", shares(3))
    await buy(verdicts, "c", shares(7), follow_id="follow-2")
    await buy(verdicts, "d", shares(5), token_id="12")
    await verdicts.record(exit_())
    for _ in range(2):
        await verdicts.settle(sold(), now=NOON)

    position = await verdicts.load_position(a_sale("f"))

    assert position == FollowPosition(
        held_shares=shares(9), held_by_all_follows=shares(16), size_by_exit={}
    )
    assert (await verdicts.load_position(a_sale("f", follow_id="follow-2"))).held_shares == shares(
        7
    )


async def test_a_position_names_the_entries_that_are_not_settled(verdicts: Verdicts) -> None:
    await verdicts.record(entry("a"))
    await verdicts.record(refusal("b"))

    assert (await verdicts.load_position(a_sale("f"))).open_entries == ("a" * 32,)

    await verdicts.settle(an_outcome(intent_id="a" * 32), now=NOON)
    assert (await verdicts.load_position(a_sale("f"))).open_entries == ()


async def test_an_exit_is_recorded_with_its_verdict_and_once(verdicts: Verdicts) -> None:
    waiting = an_exit(
        shares=None, awaited_entries=("a" * 32,), next_attempt_at=NOON + seconds(5), reason="why"
    )
    refused_sale = refused(a_sale("e"))
    await verdicts.record(entry("a"))

    await verdicts.record(refused_sale, waiting)
    await verdicts.record(refused_sale, replace(waiting, attempts=2))

    position = await verdicts.load_position(a_sale("e"))
    assert position.exit == waiting
    assert position.open_exits == ()
    assert position.bought_by_entry == {"a" * 32: None}
    other = await verdicts.load_position(a_sale("f"))
    assert [each.exit_id for each in other.open_exits] == ["e" * 32]
    assert other.size_by_exit == {"e" * 32: None}


async def test_a_settled_entry_makes_the_exits_that_await_it_due(verdicts: Verdicts) -> None:
    waiting = an_exit(shares=None, awaited_entries=("a" * 32,), next_attempt_at=NOON + seconds(50))
    sized = an_exit("d", next_attempt_at=NOON + seconds(50))
    await verdicts.record(entry("a"))
    await verdicts.record(refused(a_sale("e")), waiting)
    await verdicts.record(refused(a_sale("d")), sized)

    await verdicts.settle(an_outcome(intent_id="a" * 32, shares=shares(8)), now=LATER)

    position = await verdicts.load_position(a_sale("e", continues="e" * 32, intent_id="9" * 32))
    assert position.exit is not None
    assert position.exit.next_attempt_at == LATER
    assert position.bought_by_entry == {"a" * 32: shares(8)}
    assert [each.next_attempt_at for each in position.open_exits] == [NOON + seconds(50)]


async def test_an_exit_is_not_due_before_all_entries_that_it_awaits_are_settled(
    verdicts: Verdicts,
) -> None:
    due_later = NOON + seconds(50)
    waiting = an_exit(shares=None, awaited_entries=("a" * 32, "b" * 32), next_attempt_at=due_later)
    await verdicts.record(entry("a"))
    await verdicts.record(entry("b"))
    await verdicts.record(refused(a_sale("e")), waiting)

    due = []
    for name in "ab":
        await verdicts.settle(an_outcome(intent_id=name * 32), now=LATER)
        exit_ = await verdicts.load_exit("e" * 32)
        assert exit_ is not None
        due.append(exit_.next_attempt_at)

    assert due == [due_later, LATER]


async def test_an_attempt_finds_its_exit_and_the_exits_that_this_awaits(
    verdicts: Verdicts,
) -> None:
    ended = an_exit("c", shares=None, state=ExitState.UNSOLD)
    sized = an_exit("d", shares=shares(3), state=ExitState.DONE)
    waiting = an_exit("e", shares=None, awaited_exits=("c" * 32, "d" * 32))
    for each in (ended, sized, waiting):
        await verdicts.record(refused(each.intent), each)
    attempt = a_sale("9", continues="e" * 32)

    position = await verdicts.load_position(attempt)
    await verdicts.record(refused(attempt), replace(waiting, attempts=2))

    assert position.size_by_exit == {"c" * 32: 0, "d" * 32: shares(3)}
    assert position.open_exits == ()
    found = await verdicts.load_exit("9" * 32)
    assert found is not None
    assert (found.exit_id, found.attempts) == ("e" * 32, 2)
    assert await verdicts.load_exit("1" * 32) is None


async def test_an_exit_is_changed_by_the_first_report_of_its_order_alone(
    verdicts: Verdicts,
) -> None:
    await verdicts.record(exit_(), an_exit())

    await verdicts.settle(sold(), an_exit(sold_shares=shares(4)), now=NOON)
    await verdicts.settle(sold(), an_exit(sold_shares=shares(8)), now=LATER)

    found = await verdicts.load_exit("e" * 32)
    assert found is not None
    assert found.sold_shares == shares(4)


async def test_a_cap_is_counted_per_follow_and_per_follower(verdicts: Verdicts) -> None:
    cap = facts(daily_cap_usdc=usdc(8), follower_daily_cap_usdc=usdc(12))
    other_follow = an_intent(intent_id="b" * 32, follow_id="follow-2")
    await verdicts.record(entry("a", facts=cap))

    await verdicts.record(approved(other_follow, facts=cap))

    loaded = await load_commitments(verdicts)
    assert (loaded.spent_today, loaded.follower_spent_today) == (usdc(5), usdc(10))
    with pytest.raises(Transient):  # the follow's cap
        await verdicts.record(entry("c", facts=facts(daily_cap_usdc=usdc(8))))
    with pytest.raises(Transient):  # the follower's cap
        await verdicts.record(
            entry("d", facts=facts(daily_cap_usdc=usdc(100), follower_daily_cap_usdc=usdc(14)))
        )


def an_entry(number: int, *, token_id: str = "11", **overrides: Any) -> IntentApproved:
    """An entry of a follower of its own."""
    return approved(
        an_intent(
            intent_id=f"{number:032x}",
            proxy=f"0x{number:040x}",
            follow_id=f"follow-{number}",
            token_id=token_id,
        ),
        **overrides,
    )


async def load_shared(verdicts: Verdicts, token_id: str = "11") -> tuple[int | None, int | None]:
    """What is counted of the token and of everything."""
    loaded = await verdicts.load_commitments(
        an_intent(token_id=token_id), limits=LIMITED, since=LATER, now=NOON
    )
    return loaded.market_spent_today, loaded.global_spent_today


async def test_what_all_followers_spend_is_counted_per_token_and_in_all(
    verdicts: Verdicts,
) -> None:
    await verdicts.record(an_entry(1, facts=SHARED))
    await verdicts.record(an_entry(2, facts=SHARED))
    await verdicts.record(an_entry(3, facts=SHARED, token_id="12"))

    assert await load_shared(verdicts) == (usdc(10), usdc(15))
    assert await load_shared(verdicts, "12") == (usdc(5), usdc(15))
    assert await load_shared(verdicts, "13") == (0, usdc(15))


@pytest.mark.parametrize(
    ("caps", "counted"),
    [
        ({}, (0, 0)),
        ({"market_daily_cap_usdc": usdc(9)}, (usdc(4), 0)),
        ({"global_daily_cap_usdc": usdc(9)}, (0, usdc(4))),
    ],
)
async def test_an_entry_reserves_of_the_shared_caps_that_are_set_and_releases_the_same(
    verdicts: Verdicts, caps: dict[str, int], counted: tuple[int, int]
) -> None:
    await verdicts.record(an_entry(1, facts=facts(**caps)))
    await verdicts.settle(an_outcome(intent_id=f"{1:032x}", usdc=usdc(4), fee_usdc=0), now=NOON)
    # Another cap of an entry that released more than it reserved would count too little.
    assert await load_shared(verdicts) == counted

    await verdicts.record(an_entry(2, facts=SHARED))
    market, all_ = counted
    assert await load_shared(verdicts) == (market + usdc(5), all_ + usdc(5))


async def test_an_exit_reserves_of_no_cap_and_reads_none(verdicts: Verdicts) -> None:
    await verdicts.record(exit_(facts=SHARED))
    await verdicts.settle(sold(), now=NOON)

    assert await load_shared(verdicts) == (0, 0)
    assert await load_commitments(verdicts, limits=LIMITED, side=Side.SELL) == Commitments(
        usdc=0, spent_today=0, follower_spent_today=0
    )


@pytest.mark.parametrize("cap", ["market_daily_cap_usdc", "global_daily_cap_usdc"])
async def test_of_concurrent_entries_of_many_followers_as_many_succeed_as_a_cap_allows(
    verdicts: Verdicts, cap: str
) -> None:
    capped = facts(**{cap: usdc(17)})

    outcomes = await asyncio.gather(
        *(verdicts.record(an_entry(number, facts=capped)) for number in range(1, 21)),
        return_exceptions=True,
    )

    assert sum(isinstance(outcome, IntentApproved) for outcome in outcomes) == 3
    assert sum(isinstance(outcome, Transient) for outcome in outcomes) == 17
    assert usdc(15) in await load_shared(verdicts)


TOKENS = [f"token-{number}" for number in range(20)]


async def copy_all(
    verdicts: Verdicts, numbers: Sequence[int], tokens: Sequence[str], *, caps: VerdictFacts
) -> int:
    """Record an entry per number and token and settle those that succeed, all at the same time;
    every second one fills 2 of its 5 USDC, the others nothing. Returns how many succeeded.
    """

    async def copy(number: int, token_id: str) -> bool:
        try:
            await verdicts.record(an_entry(number, token_id=token_id, facts=caps))
        except Transient as error:
            if "daily cap" not in str(error):  # as after a deadlock
                raise
            return False
        filled = usdc(2) * (number % 2)
        report = an_outcome(intent_id=f"{number:032x}", usdc=filled, fee_usdc=0, shares=filled)
        await verdicts.settle(report, now=NOON)
        return True

    return sum(await asyncio.gather(*map(copy, numbers, tokens)))


async def test_processes_that_reserve_and_release_in_any_order_count_right_without_deadlocks(
    processes: Sequence[Verdicts],
) -> None:
    for round_ in range(5):
        first = 1 + 1000 * round_
        succeeded = await asyncio.gather(
            copy_all(processes[0], range(first, first + 20), TOKENS, caps=SHARED),
            copy_all(processes[1], range(first + 100, first + 120), TOKENS[::-1], caps=SHARED),
        )
        assert sum(succeeded) == 40

    spent = [await load_shared(processes[0], token_id) for token_id in TOKENS]
    assert sum(market or 0 for market, _ in spent) == spent[0][1] == 5 * 20 * usdc(2)


@pytest.mark.parametrize("cap", ["market_daily_cap_usdc", "global_daily_cap_usdc"])
async def test_processes_together_never_exceed_a_cap_in_any_moment(
    processes: Sequence[Verdicts], cap: str
) -> None:
    caps, most = facts(**{cap: usdc(31)}), usdc(31)
    watched: list[int] = []

    async def watch() -> None:
        while True:
            market, all_ = await load_shared(processes[0])
            watched.append(max(market or 0, all_ or 0))
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    for round_ in range(5):
        first = 1 + 1000 * round_
        await asyncio.gather(
            copy_all(processes[0], range(first, first + 20), ["11"] * 20, caps=caps),
            copy_all(processes[1], range(first + 100, first + 120), ["11"] * 20, caps=caps),
        )
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching

    market, all_ = await load_shared(processes[0])
    assert 0 < max(market or 0, all_ or 0) <= most
    assert 0 < max(watched) <= most


async def buy_token(verdicts: Verdicts, number: int, bought: int | None) -> None:
    """An entry of the follower in a token of its own; ``bought`` None: it is not settled."""
    intent = an_intent(intent_id=f"{number:032x}", follow_id=FOLLOW, token_id=f"token-{number}")
    await verdicts.record(approved(intent))
    if bought is not None:
        await verdicts.settle(an_outcome(intent_id=intent.intent_id, shares=bought), now=NOON)


async def test_processes_together_open_no_more_positions_than_allowed(
    processes: Sequence[Verdicts],
) -> None:
    """Each judged while the others were not recorded."""
    limited = facts(max_open_positions=3, open_positions=0)
    await buy_token(processes[0], 90, shares(1))

    outcomes = await asyncio.gather(
        *(
            processes[number % 2].record(
                approved(
                    an_intent(
                        intent_id=f"{number:032x}", follow_id=FOLLOW, token_id=f"token-{number}"
                    ),
                    facts=limited,
                )
            )
            for number in range(10)
        ),
        return_exceptions=True,
    )

    assert sum(isinstance(outcome, IntentApproved) for outcome in outcomes) == 2
    assert sum(isinstance(outcome, Transient) for outcome in outcomes) == 8
    loaded = await load_commitments(processes[1], limits=LIMITED)
    assert loaded.open_tokens is not None
    assert len(loaded.open_tokens) == 3


async def test_an_entry_into_an_open_position_passes_at_the_limit(verdicts: Verdicts) -> None:
    limited = facts(max_open_positions=1)
    await buy_token(verdicts, 1, shares(1))

    intent = an_intent(intent_id="9" * 32, follow_id=FOLLOW, token_id="token-1")
    assert await verdicts.record(approved(intent, facts=limited)) == approved(intent, facts=limited)


async def test_processes_together_make_no_more_entries_than_allowed(
    processes: Sequence[Verdicts],
) -> None:
    limited = facts(max_entries_per_minute=3, recent_entries=0)

    outcomes = await asyncio.gather(
        *(
            processes[number % 2].record(
                entry(
                    name,
                    facts=limited,
                    usdc=usdc(1),
                    # by clocks that differ: also an entry that was judged before counts the later
                    occurred_at=NOON - seconds(number),
                )
            )
            for number, name in enumerate("0123456789")
        ),
        return_exceptions=True,
    )

    assert sum(isinstance(outcome, IntentApproved) for outcome in outcomes) == 3
    assert sum(isinstance(outcome, Transient) for outcome in outcomes) == 7
    assert (await load_commitments(processes[1], limits=LIMITED)).recent_entries == 3


def a_delay(name: str, *, due_at: datetime = LATER, **intent: Any) -> DelayedEntry:
    given = an_intent(**{"intent_id": name * 32, "follow_id": FOLLOW} | intent)
    return DelayedEntry(
        intent=given,
        due_at=due_at,
        expires_at=NOON + seconds(59),
        reason=Refusal.TOO_MANY_ENTRIES,
    )


async def load_others(
    verdicts: Verdicts, name: str = "f", *, now: datetime = NOON
) -> tuple[set[datetime], set[datetime]]:
    others = await verdicts.load_other_entries(an_intent(intent_id=name * 32), now=now)
    return set(others.approved_at), set(others.waiting_until)


async def test_entries_wait_behind_those_of_the_follower_that_were_delayed_before(
    verdicts: Verdicts,
) -> None:
    first, second = NOON + seconds(9), NOON + seconds(2)
    assert await verdicts.delay(a_delay("b", due_at=first)) is None
    assert await verdicts.delay(a_delay("a", due_at=second)) is None
    await verdicts.delay(a_delay("c", proxy=OTHER_PROXY))
    await verdicts.record(entry("d", occurred_at=NOON - seconds(59)))
    await verdicts.record(entry("e", occurred_at=NOON - seconds(60)))
    approved_at = {NOON - seconds(59)}

    assert await load_others(verdicts) == (approved_at, {first, second})
    assert await load_others(verdicts, "a") == (approved_at, {first})
    assert await load_others(verdicts, "b") == (approved_at, set())
    assert await load_others(verdicts, now=NOON + seconds(59)) == (set(), set())
    assert (await load_commitments(verdicts, limits=LIMITED)).recent_entries == 3


async def test_an_entry_that_is_delayed_again_keeps_its_place(verdicts: Verdicts) -> None:
    for name in "ab":
        await verdicts.delay(a_delay(name))
    again = NOON + seconds(30)

    await verdicts.delay(a_delay("a", due_at=again))

    assert await load_others(verdicts, "a") == (set(), set())
    assert await load_others(verdicts, "b") == (set(), {again})


@pytest.mark.parametrize("verdict", [entry("a"), refusal("a")], ids=["approved", "refused"])
async def test_a_verdict_ends_the_delay_of_its_entry(
    verdicts: Verdicts, verdict: IntentApproved | IntentRefused
) -> None:
    await verdicts.delay(a_delay("a"))
    await verdicts.delay(a_delay("b"))

    await verdicts.record(verdict)

    assert (await load_others(verdicts))[1] == {LATER}
    assert (await load_others(verdicts, "b"))[1] == set()


async def test_an_entry_with_a_verdict_is_not_delayed(verdicts: Verdicts) -> None:
    await verdicts.record(entry("a"))

    assert await verdicts.delay(a_delay("a")) == entry("a")
    assert (await load_others(verdicts))[1] == set()


def let_go(name: str, **intent: Any) -> IntentRefused:
    delayed = a_delay(name, **intent).intent
    return refused(delayed, reason=Refusal.EXIT_CAME_FIRST, value=Decimal(1), threshold=Decimal(0))


async def test_an_exit_knows_the_delayed_entries_of_its_follow_and_token(
    verdicts: Verdicts,
) -> None:
    await verdicts.delay(a_delay("a"))
    await verdicts.delay(a_delay("b", token_id="12"))
    await verdicts.delay(a_delay("c", follow_id="another"))

    position = await verdicts.load_position(a_sale("d"))

    assert position.delayed_entries == (a_delay("a").intent,)


async def test_an_entry_that_is_let_go_has_its_verdict_and_is_judged_again_at_once(
    processes: Sequence[Verdicts],
) -> None:
    verdicts, other = processes
    sale = refused(a_sale("d"), reason=Refusal.NO_POSITION)
    await verdicts.delay(a_delay("a"))
    await verdicts.delay(a_delay("b"))

    assert await verdicts.record(sale, let_go=[let_go("a")]) == sale

    assert (await verdicts.load_position(a_sale("d"))).delayed_entries == (a_delay("b").intent,)
    assert await load_others(verdicts, now=NOON) == (set(), {LATER})
    assert await other.delay(a_delay("a", due_at=LATER + seconds(9))) == let_go("a")
    assert await other.record(entry("a")) == let_go("a")


async def test_an_entry_that_was_approved_before_it_is_let_go_is_awaited_by_the_exit(
    processes: Sequence[Verdicts],
) -> None:
    """By another instance, after the exit's position was loaded."""
    verdicts, other = processes
    await verdicts.delay(a_delay("a"))
    await other.record(entry("a"))
    sale = refused(a_sale("d"), reason=Refusal.NO_POSITION)

    with pytest.raises(Transient):
        await verdicts.record(sale, let_go=[let_go("a")])

    position = await verdicts.load_position(a_sale("d"))
    assert (position.open_entries, position.delayed_entries) == (("a" * 32,), ())
    await verdicts.record(sale)


async def test_an_entry_is_let_go_once(verdicts: Verdicts) -> None:
    await verdicts.delay(a_delay("a"))
    await verdicts.record(refused(a_sale("d")), let_go=[let_go("a")])

    later = refused(a_sale("e"))
    assert await verdicts.record(later, let_go=[let_go("a")]) == later
    assert await verdicts.record(entry("a")) == let_go("a")


async def test_a_verdict_that_is_not_recorded_leaves_the_delay(verdicts: Verdicts) -> None:
    await verdicts.delay(a_delay("a"))

    with pytest.raises(Transient):
        await verdicts.record(entry("a", facts=facts(daily_cap_usdc=0)))

    assert (await load_others(verdicts))[1] == {LATER}


async def test_open_tokens_are_held_or_being_bought_and_no_remainders(verdicts: Verdicts) -> None:
    await buy_token(verdicts, 1, 100_000)
    await buy_token(verdicts, 2, 99_999)
    await buy_token(verdicts, 3, None)
    await verdicts.record(refused(an_intent(intent_id="9" * 32, token_id="token-9")))
    await verdicts.record(an_entry(5, token_id="token-5"))  # of another follower

    loaded = await load_commitments(verdicts, limits=LIMITED)

    assert loaded.open_tokens == frozenset({"token-1", "token-3"})


@pytest.mark.parametrize(
    ("later", "is_open"),
    [
        ([], True),
        ([("b", Refusal.NO_MARKET)], False),
        ([("b", Refusal.EMPTY_BOOK)], True),
        ([("b", Refusal.NO_MARKET), ("c", Refusal.SLIPPAGE_TOO_HIGH)], True),
        ([("b", Refusal.SLIPPAGE_TOO_HIGH), ("c", Refusal.NO_MARKET)], False),
    ],
)
async def test_a_token_whose_market_has_ended_is_no_open_position(
    verdicts: Verdicts, later: Sequence[tuple[str, Refusal]], is_open: bool
) -> None:
    """By the newest copy of the follow in it."""
    await buy_token(verdicts, 1, 100_000)
    for number, (name, reason) in enumerate(later, start=1):
        sale = a_sale(name, token_id="token-1")
        at = NOON + seconds(number)
        await verdicts.record(refused(sale, reason=reason, occurred_at=at))

    loaded = await load_commitments(verdicts, limits=LIMITED)

    assert loaded.open_tokens == (frozenset({"token-1"}) if is_open else frozenset())


async def test_recent_entries_are_approved_within_the_last_minute(verdicts: Verdicts) -> None:
    within = seconds(60) - timedelta(microseconds=1)
    for name, age in (("a", seconds(60)), ("b", within), ("c", seconds(0))):
        await verdicts.record(entry(name, occurred_at=NOON - age))
    await verdicts.record(refusal("d"))
    await verdicts.record(exit_())
    for name in "ab":
        await verdicts.settle(an_outcome(intent_id=name * 32), now=NOON)
    await verdicts.record(entry("9", proxy=OTHER_PROXY))

    assert (await load_commitments(verdicts, limits=LIMITED)).recent_entries == 2
    assert (await load_commitments(verdicts)).recent_entries is None
