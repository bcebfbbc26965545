"""Kafka clients of this process that reach their broker through a relay.

A broker tells its clients where to connect, so that a relay in front of it would be left out: the
connections of clients that were given the relay's address are led through it here.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import aiokafka.client
import pytest
from aiokafka.client import AIOKafkaClient

from tests.system.faulty_relay import HOST, FaultyRelay

_is_behind = ContextVar("_is_behind", default=False)


@asynccontextmanager
async def relayed_broker(
    bootstrap_servers: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[FaultyRelay]:
    """A relay in front of the one broker. Clients whose bootstrap server it is are behind it."""
    _, _, port = bootstrap_servers.rpartition(":")
    async with FaultyRelay(target_port=int(port)) as relay:
        get_connection, connect = AIOKafkaClient._get_conn, aiokafka.client.create_conn

        async def get_connection_of_client(
            client: AIOKafkaClient, *args: Any, **options: Any
        ) -> Any:
            token = _is_behind.set(client._bootstrap_servers == address(relay))
            try:
                return await get_connection(client, *args, **options)
            finally:
                _is_behind.reset(token)

        async def connect_through(host: str, number: int, **options: Any) -> Any:
            return await connect(host, relay.port if _is_behind.get() else number, **options)

        monkeypatch.setattr(AIOKafkaClient, "_get_conn", get_connection_of_client)
        monkeypatch.setattr(aiokafka.client, "create_conn", connect_through)
        yield relay


def address(relay: FaultyRelay) -> str:
    return f"{HOST}:{relay.port}"
