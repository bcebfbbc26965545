"""What have the other instances of this service fetched already? A Faust global table over a compacted topic.

Every entry carries inside the time at which it was fetched, and readers judge it by that: an update that is lost, late or repeated
costs freshness, never truth. That is all that is asked of Faust, whose own failures end here: the table is then empty or old, it is
started again beside the service, and nobody else notices.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterable
from types import TracebackType
from typing import Any, Self

import faust

from shared.messages.base import Message
from shared.streams.backoff import Backoff
from shared.streams.producer import Producer
from shared.streams.settings import KafkaSettings

log = logging.getLogger(__name__)

START_WITHIN_S = 60.0
STOP_WITHIN_S = 5.0
"""Faust can hang in both (docs/adr: how Faust is tamed)."""


class CacheTable:
    """The entries of one topic, by key, in every instance. An async context manager that waits for nothing to start."""

    def __init__(self, kind: type[Message], settings: KafkaSettings, producer: Producer, *, backoff: Backoff | None = None) -> None:
        self.name = f"{kind.topic}-cache"
        self.failures = 0
        """How often Faust, or an update in it, has failed."""
        self._topic, self._settings, self._producer = kind.topic, settings, producer
        self._backoff = backoff or Backoff(first_s=1, longest_s=60)
        self._app: Any = None
        self._table: Any = None

    @property
    def recovered(self) -> bool:
        """Whether the table has caught up with what was kept of it. It can be used before; it is emptier then."""
        return self._app is not None and not self._app.rebalancing and self._app.tables.recovery.completed.is_set()

    def get(self, key: str) -> bytes | None:
        """The newest entry that has come here, in the message's wire form. None: none has; ask the source."""
        entry: bytes | None = None if self._table is None else self._table.get(key.encode())
        return entry

    async def put(self, message: Message) -> None:
        """Let all instances know. Returns when Kafka has it; here too it appears only when it comes back."""
        await self._producer.publish(message)

    async def __aenter__(self) -> Self:
        for noisy in ("faust", "mode"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self._task = asyncio.create_task(self._keep_running())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,), timeout=STOP_WITHIN_S + 1)

    async def _keep_running(self) -> None:
        attempt = 0
        while True:
            attempt += 1
            started = asyncio.get_running_loop().time()
            try:
                await self._run_once()
            except Exception as error:  # noqa: BLE001 - whatever Faust fails with, a cache is not worth a service
                log.warning("the cache of %s failed with %s and is started again", self._topic, type(error).__name__)
            self.failures += 1
            if asyncio.get_running_loop().time() - started > self._backoff.longest_s:
                attempt = 1
            await asyncio.sleep(self._backoff.delay(attempt))

    async def _run_once(self) -> None:
        app, table = self._build(await self._producer.partition_count(self._topic))
        try:
            await asyncio.wait_for(app.start(), START_WITHIN_S)
            self._app, self._table = app, table
            await app.wait_until_stopped()
        finally:
            self._app = None
            await self._stop(app)

    def _build(self, partitions: int) -> tuple[Any, Any]:
        app = faust.App(
            self.name,
            broker=[f"kafka://{server.strip()}" for server in self._settings.bootstrap_servers.split(",")],
            broker_credentials=self._credentials(),
            autodiscover=False,
            store="memory://",
            web_enabled=False,
            worker_redirect_stdouts=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            consumer_auto_offset_reset="latest",
            broker_session_timeout=self._settings.session_timeout_ms / 1000,
            broker_heartbeat_interval=self._settings.session_timeout_ms / 4000,
            broker_rebalance_timeout=self._settings.session_timeout_ms / 1000,
            broker_commit_interval=1.0,
        )
        app.loop = asyncio.get_running_loop()
        # Other instances' updates are seen live only with a buffer of one, and written at all only with the partitions of the source.
        table = app.GlobalTable("entries", key_type=bytes, value_type=bytes, partitions=partitions, recovery_buffer_size=1)
        source = app.topic(self._topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
        app.agent(source, name="keep")(lambda stream: self._keep(stream, table))
        app.finalize()
        return app, table

    async def _keep(self, stream: Any, table: Any) -> None:
        updates: AsyncIterable[tuple[bytes, bytes | None]] = stream.items()
        async for key, value in updates:
            try:
                if value is not None:
                    table[key] = value
            except Exception as error:  # noqa: BLE001 - raised into Faust it would end the agent, or worse
                self.failures += 1
                log.warning("an update of the cache of %s failed with %s", self._topic, type(error).__name__)

    async def _stop(self, app: Any) -> None:
        with contextlib.suppress(Exception):  # "Cannot flush: Producer not Running" and the like: it is being given up anyway
            await asyncio.wait_for(app.stop(), STOP_WITHIN_S)

    def _credentials(self) -> Any:
        settings, client = self._settings, self._settings.client()
        context = client.get("ssl_context")
        if settings.security_protocol.startswith("SASL"):
            return faust.SASLCredentials(
                username=client["sasl_plain_username"],
                password=client["sasl_plain_password"],
                mechanism=client["sasl_mechanism"],
                ssl_context=context,
            )
        return faust.SSLCredentials(context) if context is not None else None
