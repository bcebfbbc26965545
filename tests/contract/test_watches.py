"""The store of watches: the fake and PostgreSQL behave alike."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from services.tx_monitor.adapters import PostgresWatches
from services.tx_monitor.decisions.watches import (
    CLOSED_STATES,
    FINAL_STATES,
    Watch,
    apply_receipt,
    build_watch,
)
from services.tx_monitor.handler import Watches
from shared.db.engine import open_engine
from shared.messages.transactions import TransactionState
from tests.builders import NOON, a_receipt, requested, seconds, settled
from tests.fakes import FakeWatches
from tests.patience import patient_settings


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.integration)])
async def watches(request: pytest.FixtureRequest) -> AsyncIterator[Watches]:
    if request.param == "fake":
        yield FakeWatches()
        return
    engine = open_engine(patient_settings(request.getfixturevalue("migrated_database_url")))
    yield PostgresWatches(engine)
    await engine.dispose()


def a_watch(**overrides: Any) -> Watch:
    return build_watch(requested(**overrides))


async def test_the_first_watch_of_a_request_is_kept(watches: Watches) -> None:
    first = await watches.record(a_watch(), now=NOON)

    assert first == a_watch()
    assert (
        await watches.record(a_watch(transaction_hash="0x" + "ee" * 32), now=NOON + seconds(1))
        == first
    )


async def test_a_saved_receipt_is_loaded_and_returned_for_a_repeated_request(
    watches: Watches,
) -> None:
    await watches.record(a_watch(), now=NOON)
    mined = apply_receipt(
        a_watch(), a_receipt(fills=(settled(), settled(order_hash="0x" + "ee" * 32)))
    )

    await watches.save(mined, now=NOON)

    assert await watches.load(mined.request_id) == mined
    assert await watches.record(a_watch(), now=NOON) == mined


async def test_an_unmined_watch_is_saved_without_its_block(watches: Watches) -> None:
    await watches.record(a_watch(), now=NOON)
    await watches.save(apply_receipt(a_watch(), a_receipt()), now=NOON)

    await watches.save(a_watch(), now=NOON)

    assert await watches.load("request-1") == a_watch()


@pytest.mark.parametrize("final", [TransactionState.FINAL, TransactionState.FINAL_REVERTED])
async def test_a_final_state_is_not_overwritten_by_an_older_receipt(
    watches: Watches, final: TransactionState
) -> None:
    recorded = await watches.record(a_watch(), now=NOON)
    mined = apply_receipt(recorded, a_receipt())
    ended = replace(mined, state=final, changed_at=NOON + seconds(1))
    await watches.save(ended, now=NOON + seconds(1))

    for older in (mined, recorded):
        await watches.save(older, now=NOON + seconds(2))

    loaded = await watches.load("request-1")
    assert loaded == ended
    assert loaded.changed_at == NOON + seconds(1)


async def test_an_unknown_request_has_no_watch(watches: Watches) -> None:
    assert await watches.load("unknown") is None


async def test_each_caller_of_a_large_group_gets_its_own_watch(watches: Watches) -> None:
    recorded = [a_watch(request_id=f"request-{number}") for number in range(500)]
    final = [
        replace(watch, state=TransactionState.FINAL, block_number=number)
        for number, watch in enumerate(recorded)
    ]

    assert (
        await asyncio.gather(*(watches.record(watch, now=NOON) for watch in recorded)) == recorded
    )
    await asyncio.gather(*(watches.save(watch, now=NOON) for watch in final))

    assert await asyncio.gather(*(watches.load(watch.request_id) for watch in recorded)) == final


async def test_a_change_of_a_watch_sets_its_time(watches: Watches) -> None:
    recorded = await watches.record(a_watch(), now=NOON)
    assert recorded.changed_at == NOON
    await watches.save(apply_receipt(recorded, a_receipt()), now=NOON + seconds(5))

    loaded = await watches.load("request-1")

    assert loaded is not None
    assert loaded.changed_at == NOON + seconds(5)


async def test_saving_an_unchanged_watch_keeps_its_time(watches: Watches) -> None:
    recorded = await watches.record(a_watch(), now=NOON)

    await watches.save(recorded, now=NOON + seconds(5))

    loaded = await watches.load("request-1")
    assert loaded is not None
    assert loaded.changed_at == NOON


async def test_the_watches_that_are_polled_are_those_that_are_neither_final_nor_dropped(
    watches: Watches,
) -> None:
    """One that was dropped is polled again where a receipt of it comes after all."""
    if isinstance(watches, FakeWatches):
        pytest.skip("the handler does not ask for them")
    assert isinstance(watches, PostgresWatches)
    states = list(product(TransactionState, repeat=2))
    recorded = [
        await watches.record(a_watch(request_id=f"request-{number}"), now=NOON)
        for number in range(len(states))
    ]
    newest = {watch.request_id: watch for watch in recorded}
    for step in range(2):
        for watch, steps in zip(recorded, states, strict=True):
            saved = replace(watch, state=steps[step])
            await watches.save(saved, now=NOON)
            if newest[watch.request_id].state not in FINAL_STATES:
                newest[watch.request_id] = saved

        polled = {watch.request_id: watch for watch in await watches.load_open()}
        assert polled == {
            request: watch for request, watch in newest.items() if watch.state not in CLOSED_STATES
        }
