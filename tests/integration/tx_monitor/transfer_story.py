"""What a test of transfers does and sees: requests, records, reports, blocks and balances."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count, pairwise
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from sqlalchemy.ext.asyncio import AsyncEngine

from services.paper_venue.chain.sender import Call, local_account, sign_call
from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.clock import utc_now
from shared.db.engine import autocommit, fetch_rows, open_engine
from shared.messages.transfers import (
    Direction,
    TransferPurpose,
    TransferReported,
    TransferRequested,
    TransferState,
)
from shared.streams.partitioning import Partitioner
from shared.streams.producer import Producer
from shared.testing.waiting import eventually
from tests.integration.tx_monitor.monitors import BLOCKS_TO_FINAL, WITHIN_S
from tests.integration.tx_monitor.transfer_system import TransferSystem
from tests.patience import patient_settings

S = TransferState
_numbers = count(1)


@dataclass(kw_only=True)
class Story:
    system: TransferSystem
    rpc: Rpc
    """Of the first node; also its control."""
    anvil: Rpc
    chain: ChainClient
    """Of anvil itself."""
    engine: AsyncEngine
    producer: Producer
    reports: list[TransferReported] = field(default_factory=list)

    async def request(
        self,
        *,
        operator: int = 0,
        proxy: int = 0,
        amount: int = 1_000_000,
        to_proxy: bool = True,
        of_shares: bool = False,
        send_within_s: int | None = None,
        request_id: str = "",
    ) -> str:
        """Request a transfer and return the request's id."""
        request_id = request_id or f"request-{next(_numbers)}"
        now = utc_now()
        await self.producer.publish(
            TransferRequested(
                message_id=request_id,
                occurred_at=now,
                proxy=self.system.proxies[proxy].address,
                request_id=request_id,
                operator=self.system.operators[operator].address,
                direction=Direction.TO_PROXY if to_proxy else Direction.FROM_PROXY,
                token_id=str(self.system.token_id) if of_shares else None,
                amount=amount,
                purpose=TransferPurpose.DELIVERY,
                intent_id="1a" * 16,
                send_before=(
                    None if send_within_s is None else now + timedelta(seconds=send_within_s)
                ),
            )
        )
        return request_id

    async def request_in_time(self, **terms: Any) -> str:
        """Request one that is to be sent soon, and is sent in time, however slow the machine is."""
        for seconds in (3, 15, WITHIN_S):
            request = await self.request(send_within_s=seconds, **terms)
            row = await self.wait_for(request, S.SENT, S.EXPIRED, S.CANCELLING)
            if row.state != S.EXPIRED:
                return request
        raise AssertionError("nothing was sent in time")

    async def sign_foreign(self, operator: int, *, nonce: int) -> str:
        """A raw transaction of the wallet that tx-monitor does not know."""
        wallet = self.system.operators[operator]
        _, raw = sign_call(local_account(wallet.key), Call(to=wallet.address, data=b""), nonce)
        return raw

    async def reorg(
        self, depth: int, *, competing: Sequence[Any] = (), reinject: bool = True
    ) -> None:
        """``competing``: attempts, or raw transactions, of the new branch's first block."""
        raws = [each if isinstance(each, str) else f"0x{each.raw.hex()}" for each in competing]
        options = {"depth": depth, "competing": raws, "reinject": reinject}
        await self.rpc.call("node_reorg", options)

    async def drop(self, attempt: Any) -> None:
        assert await self.rpc.call("node_dropTransaction", attempt.tx_hash)

    async def take_gas_money(self, operator: int = 0) -> str:
        """Return what it was."""
        address = self.system.operators[operator].address
        balance: str = await self.anvil.call("eth_getBalance", address, "latest")
        await self.anvil.call("anvil_setBalance", address, "0x0")
        return balance

    async def give_gas_money(self, balance: str, operator: int = 0) -> None:
        await self.anvil.call("anvil_setBalance", self.system.operators[operator].address, balance)

    async def wait_for_rounds(self, operator: int = 1) -> None:
        """Wait until the instances have made some rounds: a transfer of another wallet is begun,
        mined and final.
        """
        request = await self.request(operator=operator, proxy=6)
        await self.make_mined(request)
        await self.make_final(request)

    async def fetch_halt(self, operator: int) -> str:
        rows = await self.fetch(
            "select halted_because from tx_monitor.operators where operator = :operator",
            operator=self.system.operators[operator].address,
        )
        return str(rows[0].halted_because)

    async def resume(self, operator: int) -> None:
        await self.fetch(
            "update tx_monitor.operators set halted_because = '', halted_at = null"
            " where operator = :operator",
            operator=self.system.operators[operator].address,
        )

    async def wait_for_dead_letter(self, *, proxy: int) -> str:
        """The reason."""
        key = self.system.proxies[proxy].address.encode()

        async def is_parked() -> Any:
            return await self.fetch(
                "select reason from control.dead_letters where record_key = :key", key=key
            )

        rows = await eventually(is_parked, within=WITHIN_S)
        return str(rows[0].reason)

    async def fetch(self, statement: str, **parameters: Any) -> Sequence[Any]:
        async with autocommit(self.engine) as connection:
            return await fetch_rows(connection, statement, **parameters)

    async def fetch_transfer(self, request_id: str) -> Any:
        rows = await self.fetch(
            "select * from tx_monitor.transfers where request_id = :request_id",
            request_id=request_id,
        )
        return rows[0] if rows else None

    async def fetch_attempts(self, request_id: str) -> Sequence[Any]:
        return await self.fetch(
            "select * from tx_monitor.attempts where request_id = :request_id order by number",
            request_id=request_id,
        )

    async def wait_for(self, request_id: str, *states: TransferState) -> Any:
        """Wait until it is in one of the states; return its row."""
        seen: list[str] = []

        async def is_there() -> Any:
            row = await self.fetch_transfer(request_id)
            seen[:] = [f"{row.state} {row.reason}" if row else "not recorded"]
            return row if row is not None and row.state in states else None

        return await eventually(
            is_there, within=WITHIN_S, what=lambda: f"{request_id} is {seen}, not {states}"
        )

    async def wait_until(self, request_id: str, *, mined_hash: str) -> None:
        async def is_mined() -> bool:
            return bool((await self.fetch_transfer(request_id)).mined_hash == mined_hash)

        await eventually(is_mined, within=WITHIN_S, what=f"{mined_hash} of {request_id} mined")

    async def wait_for_attempt(self, request_id: str, number: int = 1) -> Any:
        """Wait until the attempt with this number is in the pool; return its row."""

        async def is_sent() -> Any:
            attempts = await self.fetch_attempts(request_id)
            if len(attempts) < number:
                return None
            attempt = attempts[number - 1]
            return attempt if await self.is_known(attempt.tx_hash) else None

        return await eventually(
            is_sent, within=WITHIN_S, what=f"attempt {number} of {request_id} at the node"
        )

    async def is_known(self, tx_hash: str) -> bool:
        return await self.rpc.call("eth_getTransactionByHash", tx_hash) is not None

    async def mine(self, blocks: int = 1) -> None:
        await self.rpc.call("node_mine", blocks)

    async def pass_time(self, duration: timedelta) -> None:
        """Have the next block so much later than the last one, by the chain's clock."""
        await self.anvil.call("evm_increaseTime", int(duration.total_seconds()))
        await self.mine()

    async def make_mined(self, request_id: str, state: TransferState = S.MINED) -> Any:
        """Mine the newest attempt; return the row of the transfer."""
        await self.wait_for_attempt(request_id)
        await self.mine()
        return await self.wait_for(request_id, state)

    async def make_final(self, request_id: str, state: TransferState = S.FINAL) -> Any:
        """Mine until what is in a block is final; return the row of the transfer."""
        await self.mine(BLOCKS_TO_FINAL)
        return await self.wait_for(request_id, state)

    async def mine_until(self, request_id: str, state: TransferState) -> Any:
        """Mine a block after the other until it is in the state; return its row."""

        async def mine_and_look() -> Any:
            await self.mine()
            row = await self.fetch_transfer(request_id)
            return row if row.state == state else None

        return await eventually(mine_and_look, within=WITHIN_S, what=f"{request_id} {state}")

    async def finish_in_turn(self, *requests: str) -> None:
        """Have all of them mined and final, whichever comes first."""

        async def mine_and_look() -> bool:
            rows = [await self.fetch_transfer(each) for each in requests]
            for row in rows:
                if await self._is_on_its_way(row):
                    await self.mine(BLOCKS_TO_FINAL)
            return all(row.state == S.FINAL for row in rows)

        await eventually(mine_and_look, within=WITHIN_S)

    async def _is_on_its_way(self, row: Any) -> bool:
        """Whether a block would help it on."""
        if row.state != S.SENT:
            return bool(row.state == S.MINED)
        return await self.is_known((await self.fetch_attempts(row.request_id))[-1].tx_hash)

    async def require_never_overlapping(self, *requests: str) -> None:
        """Each was signed at a block above the one in which the one before was mined."""
        rows = [await self.fetch_transfer(each) for each in requests]
        spans = []
        for row in rows:
            attempts = await self.fetch_attempts(row.request_id)
            spans.append((attempts[0].signed_at_block, row.block_number))
        for (_, mined_at), (signed_at, _) in pairwise(sorted(spans)):
            assert signed_at > mined_at, spans

    async def is_held_by(self, operator: int, number: int) -> bool:
        return await self.fetch_holder(operator) == number

    async def hold(self, operator: int = 0) -> None:
        """Keep what the operator wallet sends out of blocks."""
        await self.rpc.call("node_hold", self.system.operators[operator].address)

    async def release(self, operator: int = 0) -> None:
        await self.rpc.call("node_release", self.system.operators[operator].address)

    async def set_faults(self, front: int, **faults: Mapping[str, Any]) -> None:
        named = {name.replace("_", "-"): options for name, options in faults.items()}
        await self.rpc.call("node_setFaults", named, front)

    async def clear_faults(self) -> None:
        for front in range(len(self.system.fronts)):
            await self.rpc.call("node_clearFaults", front)

    async def fetch_holdings(self, address: str) -> tuple[int, int]:
        """Micro-USDC and micro-shares of the wallet."""
        balances = await self.chain.fetch_balances(address, [self.system.token_id])
        return balances.collateral, balances.shares_by_token[self.system.token_id]

    async def fetch_proxy_holdings(self, proxy: int = 0) -> tuple[int, int]:
        return await self.fetch_holdings(self.system.proxies[proxy].address)

    async def fetch_operator_nonce(self, operator: int = 0) -> int:
        answer = await self.anvil.call(
            "eth_getTransactionCount", self.system.operators[operator].address, "latest"
        )
        return int(answer, 16)

    async def wait_for_report(self, request_id: str, state: TransferState) -> list[TransferState]:
        """Wait until the state was published; return all published ones, in order."""

        def list_states() -> list[TransferState]:
            return [each.state for each in self.reports if each.request_id == request_id]

        await eventually(
            lambda: state in list_states(),
            within=WITHIN_S,
            what=lambda: f"{state} among the reports {list_states()}",
        )
        return list_states()

    async def wait_for_reports(self, request_id: str, state: TransferState, times: int) -> None:
        def count_reports() -> int:
            return sum(
                (each.request_id, each.state) == (request_id, state) for each in self.reports
            )

        await eventually(lambda: count_reports() >= times, within=WITHIN_S)

    async def fetch_holder(self, operator: int = 0) -> int | None:
        """Which instance looks after the wallet; None: nobody does."""
        key = self.system.operators[operator].address.encode()
        partition = Partitioner().partition(key, self.system.kafka.partitions)
        rows = await self.fetch(
            "select holder from control.leases where service = 'tx-monitor'"
            " and partition = :partition and expires_at > clock_timestamp()",
            partition=partition,
        )
        return int(rows[0].holder.removeprefix("tx-monitor-")) if rows else None

    async def keep_reading(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            if dict(record.headers)["type"].decode() == "TransferReported":
                self.reports.append(TransferReported.model_validate_json(record.value))


@asynccontextmanager
async def tell_story(system: TransferSystem) -> AsyncIterator[Story]:
    """A story of its own; in the end nothing is held and no fault is on."""
    async with AsyncExitStack() as closing:
        engine = open_engine(patient_settings(system.database_url))
        closing.push_async_callback(engine.dispose)
        producer = await closing.enter_async_context(Producer(system.kafka))
        rpc, anvil = Rpc(system.fronts[0], timeout_s=60), Rpc(system.rpc_url, timeout_s=60)
        closing.push_async_callback(rpc.close)
        closing.push_async_callback(anvil.close)
        story = Story(
            system=system,
            rpc=rpc,
            anvil=anvil,
            chain=ChainClient(anvil),
            engine=engine,
            producer=producer,
        )
        consumer = AIOKafkaConsumer(**system.kafka.client(), auto_offset_reset="earliest")
        await consumer.start()
        closing.push_async_callback(consumer.stop)
        consumer.assign(
            [
                TopicPartition(TransferReported.topic, number)
                for number in range(system.kafka.partitions)
            ]
        )
        task = asyncio.create_task(story.keep_reading(consumer))
        try:
            yield story
        finally:
            await rpc.call("node_release")
            await story.clear_faults()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
