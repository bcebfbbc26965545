"""Shares what one instance fetched with all instances: a Faust global table over a compacted topic.

Every entry contains the time at which it was fetched, and readers check that time: an update that
is lost, late or repeated makes an entry old, never wrong. A failure of Faust stays in this module:
the table is then empty or old, and Faust is restarted while the service continues. Faust runs in a
thread with an event loop of its own: after a crash it leaves tasks that cannot be cancelled and
that would keep the service's own loop from ending.
"""

import asyncio
import contextlib
import itertools
import logging
import tempfile
import threading
import time
from collections.abc import AsyncIterable, Coroutine
from types import TracebackType
from typing import Any, Self

import faust

from shared.messages.base import Message
from shared.streams.backoff import Backoff
from shared.streams.producer import Producer
from shared.streams.settings import KafkaSettings
from shared.streams.topics import fetch_partition_count

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
"""Faust can hang while it starts and while it stops (ADR 4: Faust holds caches, and nothing
that money rests on)."""
CHECK_INTERVAL_S = 0.1
MAX_ENTRIES = 20_000
"""Of a table in each instance. Tokens and wallets come and go for years, and Faust forgets none. An
entry that is missing is fetched from its source."""


class FaustStopped(Exception):
    """Faust ended on its own; the text says why."""


class CacheTable:
    """The entries of one topic by key, the same in every instance.

    An async context manager; entering it does not wait until Faust has started.
    """

    def __init__(
        self,
        kind: type[Message],
        settings: KafkaSettings,
        producer: Producer,
        *,
        backoff: Backoff | None = None,
    ) -> None:
        self.name = f"{kind.topic}-cache"
        self.failures = 0
        """How often Faust or an update of the table has failed."""
        self._topic, self._settings, self._producer = kind.topic, settings, producer
        self._backoff = backoff or Backoff(first_s=1, max_s=60)
        self._app: Any = None
        self._table: Any = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep_running, name=self.name, daemon=True)

    @property
    def is_ready(self) -> bool:
        """Whether the table is restored from its changelog; before, entries may be missing."""
        return (
            self._app is not None
            and not self._app.rebalancing
            and self._app.tables.recovery.completed.is_set()
        )

    def get(self, key: str) -> bytes | None:
        """Return the newest entry that reached this instance, in the message's wire form.

        None: there is none, and the caller fetches from the source.
        """
        entry: bytes | None = None if self._table is None else self._table.get(key.encode())
        return entry

    async def put(self, message: Message) -> None:
        """Publish an entry to all instances.

        Returns when Kafka has acknowledged it. This instance sees it, as the others do, once Faust
        has read it from the topic.
        """
        await self._producer.publish(message)

    async def __aenter__(self) -> Self:
        for noisy in ("faust", "mode"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self._thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        await asyncio.to_thread(self._thread.join, 2 * STOP_TIMEOUT_S)

    def _keep_running(self) -> None:
        attempt = 0
        while not self._closing.is_set():
            attempt += 1
            started = time.monotonic()
            try:
                self._run_in_own_loop(self._run_once())
            except Exception as error:  # noqa: BLE001 - no failure of a cache may stop the service
                self._record_failure("Faust", error)
            if time.monotonic() - started > self._backoff.max_s:
                attempt = 1
            self._closing.wait(self._backoff.delay(attempt))

    def _run_in_own_loop(self, main: Coroutine[Any, Any, None]) -> None:
        """Run without ``asyncio.run``, which waits for cancelled tasks: some of Faust never end."""
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(main)
        finally:
            loop.run_until_complete(_cancel_all(timeout_s=1))
            loop.close()

    async def _run_once(self) -> None:
        """Run Faust until the cache is closed. Raises: whatever Faust failed with."""
        # Faust needs a folder although it stores nothing there.
        with tempfile.TemporaryDirectory(prefix="slipstream-cache-") as folder:
            app, table = self._build(
                await fetch_partition_count(self._settings, self._topic), folder
            )
            await self._run_app(app, table)

    async def _run_app(self, app: Any, table: Any) -> None:
        try:
            await _with_timeout(START_TIMEOUT_S, app.start())
            self._app, self._table = app, table
            while not self._closing.is_set():
                if app.should_stop:
                    raise FaustStopped(f"crashed with {type(app.crash_reason).__name__}")
                evict_oldest(table.data, keep=MAX_ENTRIES)
                await asyncio.sleep(CHECK_INTERVAL_S)
        finally:
            self._app = None
            # After a crash app.stop() fails and leaves a thread, connections, and agents that
            # restart when they are cancelled.
            for part in (app, app.agents, app.tables, app.consumer, app.producer):
                with contextlib.suppress(Exception):
                    await _with_timeout(STOP_TIMEOUT_S, part.stop())

    def _build(self, partitions: int, folder: str) -> tuple[Any, Any]:
        app = faust.App(
            self.name,
            broker=[
                f"kafka://{server.strip()}"
                for server in self._settings.bootstrap_servers.split(",")
            ],
            broker_credentials=self._credentials(),
            autodiscover=False,
            store="memory://",
            datadir=folder,
            web_enabled=False,
            worker_redirect_stdouts=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            consumer_auto_offset_reset="latest",
            # Faust accepts no longer session than request.
            broker_request_timeout=max(
                self._settings.request_timeout_ms, self._settings.session_timeout_ms
            )
            / 1000,
            broker_session_timeout=self._settings.session_timeout_ms / 1000,
            broker_heartbeat_interval=self._settings.session_timeout_ms / 4000,
            broker_rebalance_timeout=self._settings.session_timeout_ms / 1000,
            broker_commit_interval=1.0,
        )
        app.loop = asyncio.get_running_loop()
        # Updates of other instances are applied at once only with a recovery buffer of one, and are
        # written only where the table has as many partitions as the source topic.
        table = app.GlobalTable(
            "entries",
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
            recovery_buffer_size=1,
        )
        source = app.topic(
            self._topic,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
        )
        app.agent(source, name="keep")(lambda stream: self._store_updates(stream, table))
        app.finalize()
        return app, table

    async def _store_updates(self, stream: Any, table: Any) -> None:
        updates: AsyncIterable[tuple[bytes, bytes | None]] = stream.items()
        async for key, value in updates:
            try:
                if value is not None:
                    table[key] = value
            except Exception as error:  # noqa: BLE001 - an error that reaches Faust ends the agent
                self._record_failure("an update of the table", error)

    def _record_failure(self, what: str, error: Exception) -> None:
        self.failures += 1
        why = str(error) if isinstance(error, FaustStopped) else type(error).__name__
        logger.warning("%s failed (table %s): %s", what, self.name, why)

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


def evict_oldest(store: Any, *, keep: int) -> None:
    """Remove the entries of a store of Faust that were first written the longest ago, in this
    instance alone: neither its changelog nor the other instances see it.
    """
    for key in list(itertools.islice(store.data, max(0, len(store.data) - keep))):
        store.data.pop(key, None)
        store._key_partition.pop(key, None)


async def _with_timeout(seconds: float, step: Coroutine[Any, Any, Any]) -> None:
    """Wait for a step of Faust, but not for its cancellation, as ``asyncio.wait_for`` would.

    Raises: FaustStopped; whatever the step raised.
    """
    task = asyncio.create_task(step)
    await asyncio.wait((task,), timeout=seconds)
    if not task.done():
        task.cancel()
        raise FaustStopped(f"stuck for {seconds:.0f} s")
    if task.cancelled():
        raise FaustStopped("it cancelled itself")
    task.result()


async def _cancel_all(*, timeout_s: float) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=timeout_s)
