"""`slipstream transfers` shows what tx-monitor has recorded, and keeps an operator's decisions."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncEngine

from cli import transfers
from cli.errors import CommandError
from shared.db.engine import fetch_rows, open_engine, transaction
from tests.builders import NOON, OTHER_PROXY, PROXY, TOKEN, TRANSACTION
from tests.integration.db.rows import insert_row
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

OPERATOR = "0x" + "11" * 20
OTHER_TRANSACTION = "0x" + "2b" * 32


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


async def record_transfer(engine: AsyncEngine, request_id: str, **values: Any) -> None:
    row = {
        "request_id": request_id,
        "proxy": PROXY,
        "operator": OPERATOR,
        "direction": "to_proxy",
        "token_id": TOKEN,
        "amount": 2_500_000,
        "purpose": "delivery",
        "intent_id": "i1",
        "state": "queued",
        "is_reported": True,
        "requested_at": NOON,
        "changed_at": NOON,
    }
    async with transaction(engine) as connection:
        await insert_row(connection, "tx_monitor.transfers", **row | values)


async def record_operator(engine: AsyncEngine, *, halted_because: str = "") -> None:
    async with transaction(engine) as connection:
        await insert_row(
            connection,
            "tx_monitor.operators",
            operator=OPERATOR,
            next_nonce=8,
            halted_because=halted_because,
            halted_at=NOON if halted_because else None,
        )


async def fetch_state(engine: AsyncEngine, request_id: str) -> Any:
    async with transaction(engine) as connection:
        (row,) = await fetch_rows(
            connection,
            "select * from tx_monitor.transfers where request_id = :id",
            id=request_id,
        )
    return row


async def show_list(engine: AsyncEngine, *, closed: bool = False) -> str:
    console = Console(width=400, record=True)
    for table in transfers.build_overview(await transfers.load_overview(engine, closed=closed)):
        console.print(table)
    return console.export_text()


async def show_one(engine: AsyncEngine, request_id: str) -> str:
    console = Console(width=400, record=True)
    transfers.print_whole(await transfers.load_history(engine, request_id), console)
    return console.export_text()


async def test_without_operator_wallets_the_list_says_that_there_are_none(
    engine: AsyncEngine,
) -> None:
    shown = await show_list(engine)

    assert "Operator wallets: none" in shown
    assert "Transfers: none" in shown


async def test_the_list_has_what_is_open_or_lost_and_counts_it_by_wallet(
    engine: AsyncEngine,
) -> None:
    await record_operator(engine)
    await record_transfer(engine, "waiting")
    await record_transfer(engine, "pending", state="sent", nonce=6, proxy=OTHER_PROXY)
    await record_transfer(engine, "gone", state="lost", nonce=5)
    await record_transfer(engine, "done", state="final", nonce=4)

    shown, everything = await show_list(engine), await show_list(engine, closed=True)

    (wallet,) = [line.split() for line in shown.splitlines() if line.startswith(OPERATOR)]
    assert wallet == [OPERATOR, "8", "1", "1", "active"]
    listed = {line.split()[0]: line for line in shown.splitlines() if " delivery " in line}
    assert listed.keys() == {"waiting", "pending", "gone"}
    assert "NEEDS AN OPERATOR: lost" in listed["gone"]
    assert "2.5" in listed["pending"]
    assert "shares" in listed["pending"]
    assert "done" in everything


async def test_a_transfer_is_shown_with_every_attempt(engine: AsyncEngine) -> None:
    await record_transfer(
        engine, "r1", state="mined", nonce=6, mined_hash=TRANSACTION, block_number=77
    )
    async with transaction(engine) as connection:
        await insert_row(
            connection,
            "tx_monitor.attempts",
            tx_hash=TRANSACTION,
            request_id="r1",
            number=1,
            kind="transfer",
            raw=b"\x02",
            gas=90_000,
            max_fee=130 * 10**9,
            tip=30_500_000_000,
            signed_at_block=75,
            signed_at=NOON + timedelta(seconds=1),
        )

    shown = await show_one(engine, "r1")

    assert f"{TRANSACTION} in block 77" in shown
    assert "130" in shown
    assert "30.5" in shown
    assert f"{OPERATOR} to {PROXY}" in shown


async def test_a_lost_transfer_is_resolved_once_with_the_reason_kept(engine: AsyncEngine) -> None:
    await record_transfer(engine, "r1", state="lost", nonce=6)

    await transfers.resolve(
        engine, "r1", transaction_hash=OTHER_TRANSACTION, why="sent by hand, see ticket 7"
    )

    row = await fetch_state(engine, "r1")
    assert (row.state, row.mined_hash, row.is_reported) == ("final", OTHER_TRANSACTION, False)
    assert "sent by hand, see ticket 7" in await show_one(engine, "r1")
    with pytest.raises(CommandError, match="is final: only a lost one"):
        await transfers.resolve(engine, "r1", transaction_hash=None, why="again")


async def test_a_lost_transfer_that_moved_nothing_says_why_in_its_reason(
    engine: AsyncEngine,
) -> None:
    await record_transfer(engine, "r1", state="lost", nonce=6)

    await transfers.resolve(engine, "r1", transaction_hash=None, why="the nonce paid a swap")

    row = await fetch_state(engine, "r1")
    assert row.state == "final_reverted"
    assert row.reason.endswith("the nonce paid a swap")


async def test_a_halted_wallet_is_resumed_only_when_nothing_of_it_is_lost(
    engine: AsyncEngine,
) -> None:
    await record_operator(engine, halted_because="nonce 6 was used by another transaction")
    await record_transfer(engine, "r1", state="lost", nonce=6)
    assert "NEEDS AN OPERATOR: halted" in await show_list(engine)

    with pytest.raises(CommandError, match="'r1' is not known: resolve it first"):
        await transfers.resume(engine, OPERATOR, why="looked")
    await transfers.resolve(engine, "r1", transaction_hash=None, why="looked")
    await transfers.resume(engine, OPERATOR, why="looked")

    assert "halted" not in await show_list(engine)
    with pytest.raises(CommandError, match="is not halted"):
        await transfers.resume(engine, OPERATOR, why="again")


async def test_an_unknown_transfer_is_an_error_that_says_where_to_look(
    engine: AsyncEngine,
) -> None:
    with pytest.raises(CommandError, match="transfers list --all"):
        await transfers.load_history(engine, "nothing")
