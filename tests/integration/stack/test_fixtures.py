"""The fixtures that other test suites use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from shared.testing.waiting import eventually
from tools.stack.background import BackgroundCluster

pytestmark = pytest.mark.integration

NO_LEADER = -1


async def create_topic(bootstrap_servers: str, name: str, replicas: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, replicas)])
    finally:
        await admin.close()


async def fetch_leader(bootstrap_servers: str, topic: str) -> int | None:
    """None: the broker that answers knows no leader, or does not know the topic yet."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        [described] = await admin.describe_topics([topic])
    finally:
        await admin.close()
    leaders: list[int] = [partition["leader"] for partition in described["partitions"]]
    return next((leader for leader in leaders if leader != NO_LEADER), None)


async def produce(bootstrap_servers: str, topic: str, *values: bytes) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True
    ) as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def consume(bootstrap_servers: str, topic: str, count: int) -> list[bytes]:
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest"
    ) as consumer:
        return [(await consumer.getone()).value for _ in range(count)]


async def test_the_broker_carries_messages(kafka: str) -> None:
    await create_topic(kafka, "carried", 1)

    await produce(kafka, "carried", b"one", b"two")

    assert await consume(kafka, "carried", 2) == [b"one", b"two"]


async def test_the_chain_has_polygons_id_and_mines_each_transaction(rpc_url: str) -> None:
    accounts = await rpc(rpc_url, "eth_accounts")
    before = await rpc(rpc_url, "eth_blockNumber")

    sent = await rpc(
        rpc_url, "eth_sendTransaction", {"from": accounts[0], "to": accounts[1], "value": "0x1"}
    )

    assert await rpc(rpc_url, "eth_chainId") == "0x89"

    async def mined() -> Any:
        return await rpc(rpc_url, "eth_getTransactionReceipt", sent)

    condition: Callable[[], Any | Awaitable[Any]] = mined
    receipt = await eventually(condition, what="the transaction is mined")
    assert int(receipt["blockNumber"], 16) > int(before, 16)


async def test_each_test_has_an_empty_database(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)

    tables = await connection.fetchval(
        "SELECT count(*) FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    await connection.execute("CREATE TABLE mine (id int)")
    await connection.close()

    assert tables == 0


async def test_a_migrated_database_has_tables_without_rows(migrated_database_url: str) -> None:
    connection = await asyncpg.connect(migrated_database_url)

    tables = await connection.fetchval(
        "SELECT count(*) FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    await connection.close()

    assert tables > 0


async def test_three_brokers_continue_without_the_leader_and_let_it_return(
    three_brokers: BackgroundCluster,
) -> None:
    servers = three_brokers.bootstrap_servers
    await create_topic(servers, "survives", 3)
    await produce(servers, "survives", b"before")
    lost: int = await eventually(
        lambda: fetch_leader(servers, "survives"), what="a leader is known"
    )

    await three_brokers.kill(lost)
    survivors = ",".join(
        address
        for number, address in zip(three_brokers.brokers, servers.split(","), strict=True)
        if number != lost
    )

    async def another_leads() -> bool:
        try:
            return await fetch_leader(survivors, "survives") not in (lost, None)
        except KafkaError:
            return False  # the client asked the broker that was killed

    condition: Callable[[], bool | Awaitable[bool]] = another_leads
    await eventually(condition, what="another broker leads")
    await produce(survivors, "survives", b"without it")
    await three_brokers.restart(lost)
    await produce(servers, "survives", b"with it again")

    assert await consume(servers, "survives", 3) == [b"before", b"without it", b"with it again"]


async def test_a_killed_broker_keeps_its_data(one_broker: BackgroundCluster) -> None:
    await create_topic(one_broker.bootstrap_servers, "kept", 1)
    await produce(one_broker.bootstrap_servers, "kept", b"kept")

    await one_broker.kill(1)
    await one_broker.restart(1)

    assert await consume(one_broker.bootstrap_servers, "kept", 1) == [b"kept"]


async def rpc(url: str, method: str, *params: object) -> Any:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    async with aiohttp.ClientSession() as session, session.post(url, json=request) as response:
        answer = await response.json()
    assert "error" not in answer, answer
    return answer["result"]
