"""A database behind a relay that misbehaves, and an engine with short limits for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import engine_scope
from shared.db.settings import DatabaseSettings
from tests.system.faulty_relay import FaultyRelay

SHORT_LIMITS = {
    "connect_timeout": timedelta(seconds=1),
    "pool_timeout": timedelta(milliseconds=300),
    "lock_timeout": timedelta(milliseconds=200),
    "statement_timeout": timedelta(milliseconds=400),
    "answer_timeout": timedelta(seconds=1),
}


def server_port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def with_ports(url: str, *ports: int) -> str:
    """The URL with these ports of this machine as its hosts."""
    parts = urlsplit(url)
    login, _, _ = parts.netloc.rpartition("@")
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return urlunsplit(parts._replace(netloc=f"{login}@{hosts}" if login else hosts))


@asynccontextmanager
async def engine_behind(
    *relays: FaultyRelay, url: str, **changed: Any
) -> AsyncIterator[AsyncEngine]:
    """An engine that reaches the database through the relays. ``changed`` are settings of it."""
    behind = with_ports(url, *(relay.port for relay in relays))
    settings = DatabaseSettings.model_validate({"url": behind} | SHORT_LIMITS | changed)
    async with engine_scope(settings) as engine:
        yield engine
