"""Opens single connections to the database, each within its time.

A server that swallows packets, and sends neither an answer nor a reset, is noticed by time alone.
So every step has a limit of its own (``DatabaseSettings``), and none outlasts ten seconds.
"""

import logging
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.engine.url import URL, make_url

from shared.db.settings import DatabaseSettings

logger = logging.getLogger(__name__)

DEFAULT_PORT = 5432
UNUSABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InternalClientError)
"""Why the next host is tried."""
KEEPALIVE = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""By these the database notices within about ten seconds that a client is gone without a farewell:
its locks are free again. Our side needs none: each of its statements has a limit."""

PREPARED_ONCE = {"max_cached_statement_lifetime": 0, "max_cacheable_statement_size": 0}
"""A statement stays prepared as long as its connection, however long its text is."""

PLANNING = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "jit": "off",
}
"""How the database plans the statements of services, which look up by key what they name: once,
whatever the values are, and never by reading a whole table where there is an index. Tables that are
nearly empty whenever their statistics are taken, as those of what is open, are otherwise read whole
for each row, by a plan that stays when they have ten thousand rows. Compiling a statement of a
millisecond takes tens of them."""


@dataclass(slots=True, kw_only=True)
class Connector:
    """Opens connections to the host that accepted the last one, or to the next that accepts one."""

    url: URL
    """Of the first host, for SQLAlchemy."""
    hosts: tuple[tuple[str, int], ...]
    settings: DatabaseSettings
    _first: int = field(default=0, init=False)

    async def connect(self) -> asyncpg.Connection:
        """A connection whose statements look up, within the limits of the settings.

        Raises: OSError, TimeoutError; asyncpg's errors.
        """
        limits = {
            "statement_timeout": _milliseconds(self.settings.statement_timeout),
            "lock_timeout": _milliseconds(self.settings.lock_timeout),
            "idle_in_transaction_session_timeout": _milliseconds(
                self.settings.idle_in_transaction_timeout
            ),
        }
        answer_timeout_s = self.settings.answer_timeout.total_seconds()
        return await self._connect_to_any(PLANNING | limits, command_timeout=answer_timeout_s)

    async def connect_without_limits(self) -> asyncpg.Connection:
        """A connection whose statements may take as long as they need."""
        return await self._connect_to_any({}, command_timeout=None)

    async def _connect_to_any(
        self, server_settings: dict[str, str], **options: Any
    ) -> asyncpg.Connection:
        tried = [(self._first + step) % len(self.hosts) for step in range(len(self.hosts))]
        for number in tried:
            host, port = self.hosts[number]
            try:
                connection = await asyncpg.connect(
                    **self._arguments() | {"host": host, "port": port},
                    timeout=self.settings.connect_timeout.total_seconds(),
                    server_settings=KEEPALIVE | server_settings,
                    **PREPARED_ONCE,
                    **options,
                )
            except UNUSABLE as error:
                if number == tried[-1]:
                    raise
                logger.warning("database host %s is of no use: %s", host, type(error).__name__)
            else:
                self._first = number
                return connection
        raise AssertionError("there is a host")

    def _arguments(self) -> dict[str, Any]:
        _, arguments = dialect().create_connect_args(self.url)  # type: ignore[no-untyped-call]
        if len(self.hosts) > 1:
            # One of them is the primary, and after a failover another.
            arguments["target_session_attrs"] = "read-write"
        return dict(arguments)


def build_connector(settings: DatabaseSettings) -> Connector:
    """The connector to all hosts of the URL."""
    hosts = tuple(
        ((each["host"] or "localhost").strip("[]"), each["port"] or DEFAULT_PORT)
        for each in settings.url.hosts()
    )
    parts = urlsplit(str(settings.url))
    login, at, addresses = parts.netloc.rpartition("@")
    first = parts._replace(netloc=login + at + addresses.partition(",")[0])
    url = make_url(urlunsplit(first)).set(drivername="postgresql+asyncpg")
    return Connector(url=url, hosts=hosts, settings=settings)


def _milliseconds(duration: timedelta) -> str:
    return str(duration // timedelta(milliseconds=1))
