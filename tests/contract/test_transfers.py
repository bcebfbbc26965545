"""The records of transfers: the fake and PostgreSQL behave alike."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.tx_monitor.adapters.transfer_store import (
    ClosedBefore,
    NotBegun,
    TransferStore,
    WalletRecords,
)
from services.tx_monitor.adapters.transfers import PostgresTransfers
from services.tx_monitor.decisions.progress import mark_changed
from services.tx_monitor.decisions.transfers import (
    CLOSED_STATES,
    OPEN_STATES,
    Attempt,
    AttemptKind,
    Transfer,
)
from shared.db.engine import open_engine
from shared.db.leases import Lease, NotLeaseHolder
from shared.messages.transfers import Direction, TransferState
from tests.builders import NOON, OTHER_PROXY, TOKEN, seconds
from tests.fakes import FakeTransfers
from tests.leases import tx_monitor_leases
from tests.patience import patient_settings
from tests.transfers import (
    OPERATOR,
    OTHER_OPERATOR,
    a_queued_transfer,
    after,
    an_attempt,
    begin_with,
    mine,
)

ANY_LEASE = Lease(partition=0, token=1, valid_until=0)


@dataclass
class Records:
    """The store, and the leases that its writes name."""

    store: TransferStore
    engine: AsyncEngine | None = None
    lease: Lease = ANY_LEASE

    async def lose_the_lease(self) -> None:
        """Another instance has it now."""
        if isinstance(self.store, FakeTransfers):
            self.store.newest_tokens = {self.lease.partition: self.lease.token + 1}
            return
        assert self.engine is not None
        await tx_monitor_leases(self.engine)  # of the same holder: with a new token at once

    async def record(self, *transfers: Transfer) -> None:
        for number, transfer in enumerate(transfers):
            await self.store.record(transfer, now=after(number))

    async def begin(self, transfer: Transfer, nonce: int = 7) -> Transfer:
        """The transfer as it has begun, by an attempt with the number of its nonce."""
        attempt = an_attempt(nonce)
        begun = begin_with(transfer, attempt, nonce=nonce)
        await self.store.begin(begun, attempt, lease=self.lease, now=NOON)
        return begun

    async def save(self, transfer: Transfer) -> None:
        await self.store.save(transfer, lease=self.lease, now=NOON)

    async def load(self, operator: str = OPERATOR, *, later: int = 0) -> WalletRecords:
        return await self.store.load(operator, now=after(later))


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.integration)])
async def records(request: pytest.FixtureRequest) -> AsyncIterator[Records]:
    if request.param == "fake":
        yield Records(FakeTransfers())
        return
    engine = open_engine(patient_settings(request.getfixturevalue("migrated_database_url")))
    lease = (await tx_monitor_leases(engine)).lease_for(OPERATOR)
    yield Records(PostgresTransfers(engine), engine, lease)
    await engine.dispose()


def of_another_proxy(request_id: str = "transfer-2") -> Transfer:
    return a_queued_transfer(request_id=request_id, proxy=OTHER_PROXY)


async def test_the_first_record_of_a_request_is_kept(records: Records) -> None:
    first = a_queued_transfer(
        direction=Direction.FROM_PROXY, token_id=TOKEN, send_before=NOON + timedelta(minutes=1)
    )

    assert await records.store.record(first, now=NOON) == first
    assert await records.store.record(a_queued_transfer(amount=1), now=NOON) == first
    assert (await records.load()).queued == (first,)


async def test_each_of_many_that_are_recorded_at_once_gets_its_own(records: Records) -> None:
    transfers = [a_queued_transfer(request_id=f"transfer-{number}") for number in range(300)]
    requests = [*transfers, transfers[0]]

    recorded = await asyncio.gather(
        *(records.store.record(transfer, now=NOON) for transfer in requests)
    )

    assert recorded == requests


async def test_a_wallet_without_transfers_has_no_records(records: Records) -> None:
    assert await records.load() == WalletRecords()


async def test_a_transfer_that_begins_has_its_nonce_and_attempt(records: Records) -> None:
    await records.record(a_queued_transfer())

    begun = await records.begin(a_queued_transfer(), nonce=7)

    loaded = await records.load()
    assert loaded.open_transfers == (begun,)
    assert loaded.queued == ()
    assert loaded.next_nonce == 8


async def test_a_transfer_begins_once(records: Records) -> None:
    await records.record(a_queued_transfer())
    begun = await records.begin(a_queued_transfer(), nonce=7)

    with pytest.raises(NotBegun):
        await records.begin(a_queued_transfer(), nonce=8)

    assert (await records.load()).open_transfers == (begun,)
    assert (await records.load()).next_nonce == 8


async def test_a_nonce_is_given_to_one_transfer(records: Records) -> None:
    await records.record(a_queued_transfer(), of_another_proxy())
    begun = await records.begin(a_queued_transfer(), nonce=7)

    for nonce in (6, 7):
        with pytest.raises(NotBegun):
            await records.begin(of_another_proxy(), nonce=nonce)

    assert (await records.load()).open_transfers == (begun,)
    assert (await records.load()).queued == (of_another_proxy(),)


async def test_a_nonce_may_be_above_the_next_one(records: Records) -> None:
    """The wallet was used by others too."""
    await records.record(a_queued_transfer(), of_another_proxy())
    await records.begin(a_queued_transfer(), nonce=7)

    await records.begin(of_another_proxy(), nonce=12)

    assert (await records.load()).next_nonce == 13


@pytest.mark.parametrize("operator", [OPERATOR, OTHER_OPERATOR])
@pytest.mark.parametrize("state", sorted(OPEN_STATES))
async def test_one_transfer_of_a_proxy_is_open_at_a_time(
    records: Records, state: TransferState, operator: str
) -> None:
    second = a_queued_transfer(request_id="transfer-2", operator=operator)
    await records.record(a_queued_transfer(), second)
    begun = await records.begin(a_queued_transfer(), nonce=7)
    await records.save(replace(begun, state=state))

    assert (await records.load(operator)).queued == ()
    with pytest.raises(NotBegun):
        await records.begin(second, nonce=8)

    await records.save(replace(begun, state=TransferState.FINAL))
    assert (await records.load(operator)).queued == (second,)
    await records.begin(second, nonce=8)


async def test_transfers_of_a_proxy_that_begin_at_the_same_time_do_not_both_begin(
    records: Records,
) -> None:
    second = a_queued_transfer(request_id="transfer-2", operator=OTHER_OPERATOR)
    await records.record(a_queued_transfer(), second)

    results = await asyncio.gather(
        records.begin(a_queued_transfer(), nonce=7),
        records.begin(second, nonce=8),
        return_exceptions=True,
    )

    assert [type(each) for each in results if isinstance(each, Exception)] == [NotBegun]
    loaded = [await records.load(operator) for operator in (OPERATOR, OTHER_OPERATOR)]
    assert sum(len(each.open_transfers) for each in loaded) == 1
    assert sum(each.next_nonce > 0 for each in loaded) == 1, "a nonce was taken for nothing"


async def test_only_the_oldest_queued_one_of_each_proxy_is_loaded_in_the_order_of_requests(
    records: Records,
) -> None:
    transfers = [
        of_another_proxy("transfer-9"),
        a_queued_transfer(request_id="transfer-8"),
        a_queued_transfer(request_id="transfer-7"),
        of_another_proxy("transfer-6"),
    ]
    await records.record(*transfers)

    loaded = await records.load()

    assert loaded.queued == tuple(transfers[:2])
    assert (loaded.queued_count, loaded.oldest_requested_at) == (4, NOON)


async def test_all_queued_ones_whose_time_is_over_are_loaded(records: Records) -> None:
    over = [
        a_queued_transfer(request_id=f"transfer-{number}", send_before=after(60))
        for number in (2, 3)
    ]
    await records.record(a_queued_transfer(), *over)
    await records.begin(a_queued_transfer())

    assert (await records.load(later=59)).queued == ()
    assert (await records.load(later=60)).queued == tuple(over)


async def test_another_attempt_is_recorded_with_the_state_that_it_leads_to(
    records: Records,
) -> None:
    await records.record(a_queued_transfer())
    begun = await records.begin(a_queued_transfer())
    cancel = an_attempt(99, number=2, kind=AttemptKind.CANCEL)
    cancelling = replace(begun, state=TransferState.CANCELLING, reason="its time is over")

    await records.store.add_attempt(cancelling, cancel, lease=records.lease, now=NOON)

    (loaded,) = (await records.load()).open_transfers
    assert loaded == replace(cancelling, attempts=(*begun.attempts, cancel))


async def test_what_was_mined_is_saved_and_can_be_undone(records: Records) -> None:
    await records.record(a_queued_transfer())
    begun = await records.begin(a_queued_transfer())
    mined = mine(begun, begun.attempts[0])

    for state in (mined, begun, mined):
        await records.save(state)
        assert (await records.load()).open_transfers == (state,)


@pytest.mark.parametrize("closed", sorted(CLOSED_STATES))
async def test_what_is_closed_stays_as_it_is(records: Records, closed: TransferState) -> None:
    await records.record(a_queued_transfer())
    begun = await records.begin(a_queued_transfer())
    ended = replace(begun, state=closed, reason="why", attempts=())
    await records.save(ended)

    for later in (begun, replace(begun, state=TransferState.FINAL)):
        with pytest.raises(ClosedBefore):
            await records.save(later)

    loaded = await records.load()
    assert (loaded.open_transfers, loaded.queued) == ((), ())
    assert await records.store.load_unreported(OPERATOR) == [ended]
    assert loaded.oldest_requested_at is None


async def test_a_lost_transfer_halts_its_wallet(records: Records) -> None:
    await records.record(a_queued_transfer(), of_another_proxy())
    begun = await records.begin(a_queued_transfer())

    await records.save(replace(begun, state=TransferState.LOST, reason="nobody knows"))

    assert (await records.load()).halted_because == "transfer transfer-1: nobody knows"
    assert (await records.load(OTHER_OPERATOR)).halted_because == ""
    with pytest.raises(NotBegun):
        await records.begin(of_another_proxy(), nonce=8)


async def test_a_transfer_is_unreported_until_its_newest_state_was_reported(
    records: Records,
) -> None:
    await records.record(a_queued_transfer())
    begun = await records.begin(a_queued_transfer())
    await records.store.mark_reported(begun, lease=records.lease)
    assert [each.is_reported for each in (await records.load()).open_transfers] == [True]

    mined = mine(begun, begun.attempts[0])
    await records.save(mined)
    await records.store.mark_reported(begun, lease=records.lease)
    assert [each.is_reported for each in (await records.load()).open_transfers] == [False]

    final = mark_changed(replace(mined, state=TransferState.FINAL))
    await records.save(final)
    (unreported,) = await records.store.load_unreported(OPERATOR)
    assert (unreported.state, unreported.revision) == (TransferState.FINAL, final.revision)
    assert await records.store.load_wallets() == [OPERATOR]
    await records.store.mark_reported(final, lease=records.lease)
    assert await records.store.load_unreported(OPERATOR) == []
    assert await records.store.load_wallets() == []


async def test_what_waits_in_one_direction_keeps_none_of_the_other_from_being_loaded(
    records: Records,
) -> None:
    taken = [
        a_queued_transfer(
            request_id=f"take-{number}",
            proxy=f"0x{number + 1:040x}",
            direction=Direction.FROM_PROXY,
        )
        for number in range(150)
    ]
    await records.record(*taken, of_another_proxy("give"))

    queued = (await records.load()).queued

    assert queued[0].terms.request_id == "take-0"
    assert "give" in {each.terms.request_id for each in queued}


async def test_a_stale_lease_writes_nothing(records: Records) -> None:
    await records.record(a_queued_transfer(), of_another_proxy())
    begun = await records.begin(a_queued_transfer())
    before: list[object] = [await records.load()]
    await records.lose_the_lease()
    attempt: Attempt = an_attempt(99, number=2)

    for write in (
        records.begin(of_another_proxy(), nonce=8),
        records.store.add_attempt(begun, attempt, lease=records.lease, now=NOON + seconds(1)),
        records.save(replace(begun, state=TransferState.LOST)),
        records.store.mark_reported(begun, lease=records.lease),
    ):
        with pytest.raises(NotLeaseHolder):
            await write

    assert [await records.load()] == before
