"""The store of verdicts: the fake and PostgreSQL behave alike."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.decisions import reserved_usdc
from services.preflight.handler import Commitments, Verdicts
from shared.db.engine import open_engine
from shared.db.settings import DatabaseSettings
from shared.domain.errors import Transient
from shared.domain.money import Side
from shared.messages.intents import IntentApproved, IntentRefused, OrderType
from shared.messages.orders import OrderState
from tests.builders import (
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

EARLIER, LATER = NOON - seconds(1), NOON + seconds(1)
RESERVED = reserved_usdc(approved())


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.integration)])
async def verdicts(request: pytest.FixtureRequest) -> AsyncIterator[Verdicts]:
    if request.param == "fake":
        yield FakeVerdicts()
        return
    engine = open_engine(
        DatabaseSettings.model_validate({"url": request.getfixturevalue("migrated_database_url")})
    )
    yield PostgresVerdicts(engine)
    await engine.dispose()


def entry(name: str = "a", *, proxy: str = PROXY, **overrides: Any) -> IntentApproved:
    return approved(an_intent(intent_id=name * 32, proxy=proxy), **overrides)


def exit_(name: str = "e", **overrides: Any) -> IntentApproved:
    intent = an_intent(intent_id=name * 32, side=Side.SELL)
    return approved(intent, order_type=OrderType.FAK, usdc=0, shares=shares(10), **overrides)


def refusal(name: str = "a") -> IntentRefused:
    return refused(an_intent(intent_id=name * 32))


async def load_commitments(verdicts: Verdicts, *, proxy: str = PROXY, **at: Any) -> Commitments:
    return await verdicts.load_commitments(
        an_intent(intent_id="f" * 32, proxy=proxy), **{"since": LATER, "now": NOON} | at
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
        usdc=0, shares=0, spent_today=0
    )


async def test_an_entry_reserves_usdc_with_its_fee_and_counts_in_the_cap_without(
    verdicts: Verdicts,
) -> None:
    await verdicts.record(entry())

    assert await load_commitments(verdicts) == Commitments(
        usdc=RESERVED, shares=0, spent_today=usdc(5)
    )


async def test_an_exit_reserves_shares_of_its_token_alone(verdicts: Verdicts) -> None:
    await verdicts.record(exit_())

    other_token = an_intent(intent_id="f" * 32, token_id="12")
    assert await load_commitments(verdicts) == Commitments(usdc=0, shares=shares(10), spent_today=0)
    assert (await verdicts.load_commitments(other_token, since=LATER, now=NOON)).shares == 0


async def test_a_redelivery_reserves_nothing_twice(verdicts: Verdicts) -> None:
    for _ in range(3):
        await verdicts.record(entry())

    assert (await load_commitments(verdicts)).usdc == RESERVED


async def test_other_proxies_and_other_days_are_counted_separately(verdicts: Verdicts) -> None:
    await verdicts.record(entry())

    assert await load_commitments(verdicts, proxy=OTHER_PROXY) == Commitments(
        usdc=0, shares=0, spent_today=0
    )
    assert (await load_commitments(verdicts, now=NOON + timedelta(days=1))).spent_today == 0


async def test_the_cap_can_be_used_exactly_and_beyond_it_nothing_is_recorded(
    verdicts: Verdicts,
) -> None:
    cap = facts(daily_cap_usdc=usdc(10))
    await verdicts.record(entry("a", facts=cap))
    await verdicts.record(entry("b", facts=cap))

    with pytest.raises(Transient):
        await verdicts.record(entry("c", facts=cap))

    assert await load_commitments(verdicts) == Commitments(
        usdc=2 * RESERVED, shares=0, spent_today=usdc(10)
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
        usdc=0, shares=0, spent_today=0
    )


async def test_a_filled_order_releases_exactly_what_it_did_not_use_and_only_once(
    verdicts: Verdicts,
) -> None:
    await verdicts.record(entry())
    filled = an_outcome(intent_id="a" * 32, usdc=usdc(4), fee_usdc=usdc("0.05"))

    for _ in range(3):
        await verdicts.settle(filled, now=NOON)

    assert await load_commitments(verdicts, since=EARLIER) == Commitments(
        usdc=usdc("4.05"), shares=0, spent_today=usdc(4)
    )


async def test_a_settled_order_counts_until_the_balance_was_read_after_it(
    verdicts: Verdicts,
) -> None:
    await verdicts.record(exit_())
    await verdicts.settle(
        an_outcome(intent_id="e" * 32, side=Side.SELL, shares=shares(4), usdc=usdc(2)), now=NOON
    )

    read_before, read_after = (
        await load_commitments(verdicts, since=EARLIER),
        await load_commitments(verdicts, since=NOON),
    )

    assert (read_before.shares, read_after.shares) == (shares(4), 0)
    assert read_before.usdc == read_after.usdc == 0


async def test_a_settlement_on_a_later_day_releases_the_cap_of_the_day_of_the_verdict(
    verdicts: Verdicts,
) -> None:
    await verdicts.record(entry())
    tomorrow = NOON + timedelta(days=1)

    await verdicts.settle(
        an_outcome(intent_id="a" * 32, usdc=0, fee_usdc=0, shares=0), now=tomorrow
    )

    assert (await load_commitments(verdicts)).spent_today == 0
    assert (await load_commitments(verdicts, now=tomorrow)).spent_today == 0


async def test_settling_an_intent_that_was_not_approved_changes_nothing(verdicts: Verdicts) -> None:
    await verdicts.record(refusal())

    await verdicts.settle(an_outcome(intent_id="a" * 32), now=NOON)
    await verdicts.settle(an_outcome(intent_id="9" * 32), now=NOON)

    assert await load_commitments(verdicts, since=EARLIER) == Commitments(
        usdc=0, shares=0, spent_today=0
    )


async def test_each_caller_of_a_large_group_gets_its_own_result(verdicts: Verdicts) -> None:
    given = [
        approved(an_intent(intent_id=f"{number:032x}", proxy=f"0x{number:040x}"))
        for number in range(1, 501)
    ]

    assert await asyncio.gather(*map(verdicts.record, given)) == given
    loaded = await asyncio.gather(
        *(load_commitments(verdicts, proxy=verdict.intent.proxy) for verdict in given)
    )
    assert {each.usdc for each in loaded} == {RESERVED}
