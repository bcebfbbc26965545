"""Whatever the venue does to an order, there is one copy, and the records end as the venue and the
chain have it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.db.engine import open_engine
from shared.domain.money import ROUNDING_TOLERANCE_SHARES
from shared.messages.orders import OrderState
from shared.testing.waiting import eventually
from tests.integration.executor.executor_at_venue import (
    VENUE_TIMEOUT_S,
    ExecutorAtVenue,
    executor_at_venue,
)
from tests.integration.paper_venue.venue import PaperVenue
from tests.patience import patient_settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

FAULTS_THAT_A_COPY_SURVIVES: dict[str, dict[str, dict[str, Any]]] = {
    "nothing": {},
    "reset before it arrives": {"reset-before": {"times": 1}},
    "answer dropped": {"drop-reply": {}},
    "answer too late": {"late-reply": {"seconds": str(VENUE_TIMEOUT_S + 2)}},
    "sent twice by a gateway": {"repeated-request": {}},
    "timed out in the engine": {"order-timed-out": {"times": 1}},
    "held before it matches": {"delayed": {"seconds": "3"}},
    "settled at the second attempt": {"retrying": {}},
    "another clock": {"clock-skew": {"seconds": "90"}},
    "answer dropped, and replicas lag behind": {"drop-reply": {}, "stale-reads": {"share": "0.9"}},
    "engine restart": {"restart": {"seconds": "1"}},
    "a stale view of the balance": {"stale-balance": {}},
    "API key revoked": {"key-revoked": {}},
    "API key revoked, and the answer dropped": {"key-revoked": {}, "drop-reply": {}},
    "a gateway's page instead of an API key": {"gateway-page": {"times": 2}},
}


@pytest.fixture
async def executor(
    venue: PaperVenue, rpc_url: str, migrated_database_url: str
) -> AsyncIterator[ExecutorAtVenue]:
    engine = open_engine(patient_settings(migrated_database_url))
    async with executor_at_venue(
        venue, rpc_url, engine, venue_timeout_s=VENUE_TIMEOUT_S
    ) as executor:
        yield executor
    await engine.dispose()


async def assert_venue_and_chain_have(executor: ExecutorAtVenue, shares: int) -> None:
    """Assert that venue and chain have the shares, and that every fault has struck (a skewed clock
    does not count its strikes).
    """
    assert all(
        times for fault, times in (await executor.fetch_strikes()).items() if fault != "clock-skew"
    )
    await executor.set_faults({})
    assert await executor.fetch_shares_at_venue() == shares
    assert await eventually(
        lambda: holds_on_chain(executor, shares), what="the chain has the recorded shares"
    )


async def holds_on_chain(executor: ExecutorAtVenue, shares: int) -> bool:
    """The venue's trades are rounded, the chain's balances are not."""
    return abs(await executor.fetch_shares_on_chain() - shares) < ROUNDING_TOLERANCE_SHARES


@pytest.mark.parametrize("fault", FAULTS_THAT_A_COPY_SURVIVES)
async def test_a_copy_is_made_once(executor: ExecutorAtVenue, fault: str) -> None:
    await executor.set_faults(FAULTS_THAT_A_COPY_SURVIVES[fault])

    order = await executor.wait_until_final(await executor.copy())

    assert order.state is OrderState.CONFIRMED, order.reason
    assert order.shares > 0
    await assert_venue_and_chain_have(executor, order.shares)


@pytest.mark.parametrize("fault", ["stale-balance", "key-revoked", "gateway-page"])
async def test_a_wallet_that_has_traded_before_goes_on(
    executor: ExecutorAtVenue, fault: str
) -> None:
    before = await executor.wait_until_final(await executor.copy(1))
    await executor.set_faults({fault: {"times": 1}})

    order = await executor.wait_until_final(await executor.copy(2))

    assert order.state is OrderState.CONFIRMED, order.reason
    assert f'"owner":"{await first_key(executor)}"' in order.body  # as it was signed
    await assert_venue_and_chain_have(executor, before.shares + order.shares)


async def first_key(executor: ExecutorAtVenue) -> str:
    """The API key in the envelope of the wallet's first order."""
    first = await executor.orders.load(f"{1:032x}")
    assert first is not None
    return str(json.loads(first.body)["owner"])


async def test_a_read_with_a_revoked_key_is_made_with_the_next_one(
    executor: ExecutorAtVenue,
) -> None:
    order = await executor.wait_until_final(await executor.copy())
    await executor.set_faults({"key-revoked": {}})

    lookup = await executor.handler.venue.look_up(order)

    assert [trade.shares for trade in lookup.reports] == [order.shares]
    await assert_venue_and_chain_have(executor, order.shares)


async def test_the_chain_knows_a_filled_order_by_its_hash(executor: ExecutorAtVenue) -> None:
    order = await executor.wait_until_final(await executor.copy())
    (trade,) = await executor.orders.load_trades(order.intent_id)

    assert await executor.handler.chain.fetch_fill(order) == trade.transaction_hash
    assert (
        await executor.handler.chain.fetch_fill(replace(order, order_hash="0x" + "00" * 32)) == ""
    )


async def test_a_partial_fill_of_a_killed_order_is_what_was_copied(
    executor: ExecutorAtVenue,
) -> None:
    whole = (await executor.wait_until_final(await executor.copy(1))).shares
    await executor.set_faults({"killed-partial": {}})

    order = await executor.wait_until_final(await executor.copy(2))

    assert order.state is OrderState.CONFIRMED, order.reason
    assert 0 < order.shares < whole
    await assert_venue_and_chain_have(executor, whole + order.shares)


async def test_a_settlement_that_fails_for_good_leaves_nothing_copied(
    executor: ExecutorAtVenue,
) -> None:
    await executor.set_faults({"failed": {"seconds": "1"}})

    order = await executor.wait_until_final(await executor.copy())

    assert (order.state, order.shares, order.usdc, order.fee_usdc) == (OrderState.FAILED, 0, 0, 0)
    assert {report.state for report in executor.reports} == {OrderState.FAILED}
    await assert_venue_and_chain_have(executor, 0)


@pytest.mark.parametrize(
    ("fault", "reason"), [("geoblock", "region"), ("closed-only", "closed_only")]
)
async def test_a_refusal_for_who_is_asking_is_final_at_once(
    executor: ExecutorAtVenue, fault: str, reason: str
) -> None:
    await executor.set_faults({fault: {}})

    order = await executor.wait_until_final(await executor.copy(), within=0)

    assert order.state is OrderState.REJECTED
    assert order.reason.startswith(reason)
    await assert_venue_and_chain_have(executor, 0)


@pytest.mark.parametrize("fault", ["disabled", "cancel-only", "post-only"])
async def test_an_order_that_the_venue_never_takes_is_rejected_with_its_text(
    executor: ExecutorAtVenue, fault: str
) -> None:
    await executor.set_faults({fault: {"seconds": "1"}})

    order = await executor.wait_until_final(await executor.copy(valid_for=timedelta(seconds=8)))

    assert order.state is OrderState.REJECTED
    assert fault in order.reason.lower()
    await assert_venue_and_chain_have(executor, 0)


async def test_a_signer_who_is_rate_limited_waits_as_long_as_the_venue_asks(
    executor: ExecutorAtVenue,
) -> None:
    await executor.set_faults({"rate-limit-signer": {"seconds": "5"}})

    intents = await asyncio.gather(*(executor.copy(number) for number in range(1, 5)))
    orders = [await executor.wait_until_final(intent) for intent in intents]

    assert {order.state for order in orders} == {OrderState.CONFIRMED}
    await assert_venue_and_chain_have(executor, sum(order.shares for order in orders))
