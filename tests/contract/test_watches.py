"""What every store of watches does, the fake and PostgreSQL alike."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from services.tx_monitor.adapters import PostgresWatches
from services.tx_monitor.decisions import Watch, apply_receipt, build_watch
from services.tx_monitor.handler import Watches
from shared.db.engine import open_engine
from shared.db.settings import DatabaseSettings
from shared.messages.transactions import TransactionState
from tests.builders import NOON, a_receipt, requested, seconds, settled
from tests.fakes import FakeWatches


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.integration)])
async def watches(request: pytest.FixtureRequest) -> AsyncIterator[Watches]:
    if request.param == "fake":
        yield FakeWatches()
        return
    engine = open_engine(
        DatabaseSettings.model_validate({"url": request.getfixturevalue("migrated_database_url")})
    )
    yield PostgresWatches(engine)
    await engine.dispose()


def a_watch(**overrides: Any) -> Watch:
    return build_watch(requested(**overrides))


async def test_the_first_watch_of_a_request_stands(watches: Watches) -> None:
    first = await watches.record(a_watch(), now=NOON)

    assert first == a_watch()
    assert (
        await watches.record(a_watch(transaction_hash="0x" + "ee" * 32), now=NOON + seconds(1))
        == first
    )


async def test_what_was_seen_is_kept_and_asking_again_tells_it(watches: Watches) -> None:
    await watches.record(a_watch(), now=NOON)
    mined = apply_receipt(
        a_watch(), a_receipt(fills=(settled(), settled(order_hash="0x" + "ee" * 32)))
    )

    await watches.save(mined, now=NOON)

    assert await watches.load(mined.request_id) == mined
    assert await watches.record(a_watch(), now=NOON) == mined


async def test_what_was_undone_leaves_nothing(watches: Watches) -> None:
    await watches.record(a_watch(), now=NOON)
    await watches.save(apply_receipt(a_watch(), a_receipt()), now=NOON)

    await watches.save(a_watch(), now=NOON)

    assert await watches.load("request-1") == a_watch()


@pytest.mark.parametrize("final", [TransactionState.FINAL, TransactionState.FINAL_REVERTED])
async def test_what_is_final_stands_against_an_older_look_of_one_that_stood_still(
    watches: Watches, final: TransactionState
) -> None:
    opened = await watches.record(a_watch(), now=NOON)
    mined = apply_receipt(opened, a_receipt())
    ended = replace(mined, state=final, changed_at=NOON + seconds(1))
    await watches.save(ended, now=NOON + seconds(1))

    for older in (mined, opened):
        await watches.save(older, now=NOON + seconds(2))

    found = await watches.load("request-1")
    assert found == ended
    assert found.changed_at == NOON + seconds(1)


async def test_what_nobody_asked_for_is_not_known(watches: Watches) -> None:
    assert await watches.load("nobody") is None


async def test_each_caller_of_a_large_group_gets_its_own(watches: Watches) -> None:
    given = [a_watch(request_id=f"request-{number}") for number in range(500)]
    final = [
        replace(watch, state=TransactionState.FINAL, block_number=number)
        for number, watch in enumerate(given)
    ]

    assert await asyncio.gather(*(watches.record(watch, now=NOON) for watch in given)) == given
    await asyncio.gather(*(watches.save(watch, now=NOON) for watch in final))

    assert await asyncio.gather(*(watches.load(watch.request_id) for watch in given)) == final


async def test_a_watch_tells_since_when_it_is_as_it_is(watches: Watches) -> None:
    opened = await watches.record(a_watch(), now=NOON)
    assert opened.changed_at == NOON
    await watches.save(apply_receipt(opened, a_receipt()), now=NOON + seconds(5))

    found = await watches.load("request-1")

    assert found is not None
    assert found.changed_at == NOON + seconds(5)


async def test_what_is_looked_at_and_unchanged_grows_older(watches: Watches) -> None:
    opened = await watches.record(a_watch(), now=NOON)

    await watches.save(opened, now=NOON + seconds(5))

    found = await watches.load("request-1")
    assert found is not None
    assert found.changed_at == NOON
