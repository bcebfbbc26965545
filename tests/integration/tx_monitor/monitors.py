"""Instances of tx-monitor as processes, and what they publish."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.chain.blocks import Receipt
from shared.chain.orders import BUY, SELL
from shared.db.engine import autocommit, fetch_rows
from shared.messages.transactions import FillsSettled
from shared.streams.settings import KafkaSettings
from shared.testing.waiting import eventually
from tests.builders import shares, usdc
from tests.integration.chain.market import PaperMarket, decode_fills
from tools.stack.ports import Ports

WITHIN_S = 180
"""Also the time that a busy machine may take to start the processes."""
TRADERS = 8
BLOCKS_TO_FINAL = 6

Fill = tuple[str, str, int, int, int]
"""Proxy, transaction, index of the log, micro-shares, micro-USDC."""


@dataclass(kw_only=True)
class Settled:
    """All messages about settled fills."""

    messages: list[FillsSettled] = field(default_factory=list)

    async def keep_reading(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            if dict(record.headers)["type"].decode() == "FillsSettled":
                self.messages.append(FillsSettled.model_validate_json(record.value))

    @property
    def count_by_id(self) -> Counter[str]:
        return Counter(message.message_id for message in self.messages)

    @property
    def fills(self) -> set[Fill]:
        return {
            (message.proxy, each.transaction_hash, each.log_index, each.shares, each.usdc)
            for message in self.messages
            for each in message.fills
        }

    def require_repetitions_equal(self) -> None:
        by_id: dict[str, FillsSettled] = {}
        for message in self.messages:
            assert by_id.setdefault(message.message_id, message) == message

    async def wait_for(self, receipts: Iterable[Receipt], proxies: Sequence[str]) -> None:
        expected = {fill for receipt in receipts for fill in list_fills(receipt, proxies)}
        assert expected
        await eventually(
            lambda: expected <= self.fills,
            within=WITHIN_S,
            what=lambda: f"the fills {expected - self.fills}",
        )


def list_fills(receipt: Receipt, proxies: Sequence[str]) -> set[Fill]:
    """What the transaction's receipt shows of these wallets' orders."""
    return {
        (fill.maker, receipt.tx_hash, fill.log_index, fill.shares, fill.usdc)
        for fill in decode_fills(receipt)
        if fill.maker in proxies
    }


@asynccontextmanager
async def reading_settled(settings: KafkaSettings) -> AsyncIterator[Settled]:
    settled = Settled()
    consumer = AIOKafkaConsumer(**settings.client(), auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign(
        [TopicPartition(FillsSettled.topic, number) for number in range(settings.partitions)]
    )
    task = asyncio.create_task(settled.keep_reading(consumer))
    try:
        yield settled
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await consumer.stop()


@asynccontextmanager
async def running_monitor(
    number: int,
    *,
    rpc_url: str,
    settings: KafkaSettings,
    database_url: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """An instance, which ends with SIGTERM unless it has ended before. ``environment``: what it has
    beside these settings.
    """
    environment = {
        **os.environ,
        "POLYGON_RPC_URL": rpc_url,
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "KAFKA_PARTITIONS": str(settings.partitions),
        "KAFKA_SESSION_TIMEOUT_MS": str(settings.session_timeout_ms),
        "KAFKA_GROUP_INSTANCE_ID": f"tx-monitor-{number}",
        "DATABASE_URL": database_url,
        "HEALTH_HOST": "127.0.0.1",
        "HEALTH_PORT": str(Ports().reserve_free()),
        "TX_MONITOR_POLL_INTERVAL": "PT0.1S",
        **(environment or {}),
    }
    with (folder / f"tx-monitor-{number}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.tx_monitor", env=environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def trade(market: PaperMarket, buyer: int, seller: int, *, salt: int) -> Receipt:
    """The buyer takes 10 shares of the seller at 0.50, in a block of its own."""
    bought = market.order(buyer, BUY, gives=usdc(5), wants=shares(10), salt=salt)
    sold = market.order(seller, SELL, gives=shares(10), wants=usdc(5), salt=salt)
    return await market.settle(market.match(bought, sold))


async def make_final(market: PaperMarket) -> int:
    """Mine until all that is mined is final; return the number of the finalized block."""
    await market.deployment.rpc.call("anvil_mine", hex(BLOCKS_TO_FINAL))
    return (await market.chain.fetch_finalized_block()).number


async def fetch_cursors(engine: AsyncEngine) -> dict[int, int]:
    async with autocommit(engine) as connection:
        rows = await fetch_rows(connection, "select * from tx_monitor.partition_cursors")
    return {row.partition: row.block_number for row in rows}


async def fetch_lease_counts(engine: AsyncEngine) -> dict[str, int]:
    """How many leases are valid, by their holder."""
    async with autocommit(engine) as connection:
        rows = await fetch_rows(
            connection,
            "select holder, count(*) as leases from control.leases"
            " where service = 'tx-monitor' and expires_at > clock_timestamp() group by holder",
        )
    return {row.holder: row.leases for row in rows}
