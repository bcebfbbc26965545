"""A database behind a relay that misbehaves, and an engine with short limits for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import engine_scope
from shared.db.settings import DatabaseSettings
from shared.domain.errors import Transient
from tests.system.faulty_relay import FaultyRelay

T = TypeVar("T")

SHORT_LIMITS = {
    "connect_timeout": timedelta(seconds=3),
    "pool_timeout": timedelta(seconds=1),
    "lock_timeout": timedelta(seconds=1),
    "statement_timeout": timedelta(seconds=2),
    "answer_timeout": timedelta(seconds=3),
}
"""Short for a fault, and long for a statement without one, also on a busy machine."""


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


async def until_it_works(attempt: Callable[[], Awaitable[T]], *, within_s: float = 120) -> T:
    """Repeat what fails as transient, as every caller does, and return what it returns. The fault
    is over, but a busy machine may be slower than a short limit.
    """
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        try:
            return await attempt()
        except Transient:
            if asyncio.get_running_loop().time() > deadline:
                raise
