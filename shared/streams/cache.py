"""What have the other instances of this service fetched already? A Faust global table over a
compacted topic.

Every entry carries inside the time at which it was fetched, and readers judge it by that: an update
that is lost, late or repeated costs freshness, never truth. That is all that is asked of Faust,
whose own failures end here: the table is then empty or old, it is started again beside the service,
and nobody else notices. It runs in a thread with an event loop of its own: after a crash Faust
leaves tasks that refuse to be cancelled, and would keep the service's own loop from ever ending.
"""

import asyncio
import contextlib
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
from shared.streams.topics import partition_count

log = logging.getLogger(__name__)

START_WITHIN_S = 60.0
STOP_WITHIN_S = 5.0
"""Faust can hang in both (docs/adr: how Faust is tamed)."""
LOOK_EVERY_S = 0.1


class FaustStopped(Exception):
    """Faust ended by itself; it says why."""


class CacheTable:
    """The entries of one topic, by key, in every instance. An async context manager that waits for
    nothing to start.
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
        """How often Faust, or an update in it, has failed."""
        self._topic, self._settings, self._producer = kind.topic, settings, producer
        self._backoff = backoff or Backoff(first_s=1, longest_s=60)
        self._app: Any = None
        self._table: Any = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep_running, name=self.name, daemon=True)

    @property
    def is_ready(self) -> bool:
        """Whether the table has caught up with what was kept of it. It can be used before; it is
        emptier then.
        """
        return (
            self._app is not None
            and not self._app.rebalancing
            and self._app.tables.recovery.completed.is_set()
        )

    def get(self, key: str) -> bytes | None:
        """The newest entry that has come here, in the message's wire form. None: none has; ask the
        source.
        """
        entry: bytes | None = None if self._table is None else self._table.get(key.encode())
        return entry

    async def put(self, message: Message) -> None:
        """Let all instances know. Returns when Kafka has it; here too it appears only when it comes
        back.
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
        await asyncio.to_thread(self._thread.join, 2 * STOP_WITHIN_S)

    def _keep_running(self) -> None:
        attempt = 0
        while not self._closing.is_set():
            attempt += 1
            started = time.monotonic()
            try:
                self._in_a_loop_of_its_own(self._run_once())
            except Exception as error:  # noqa: BLE001 - whatever Faust fails with, a cache is not worth a service
                self._failed("the cache", error)
            if time.monotonic() - started > self._backoff.longest_s:
                attempt = 1
            self._closing.wait(self._backoff.delay(attempt))

    def _in_a_loop_of_its_own(self, life: Coroutine[Any, Any, None]) -> None:
        """Not ``asyncio.run``, which waits until all tasks are cancelled: some of Faust's never
        are.
        """
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(life)
        finally:
            loop.run_until_complete(_cancel_all(within_s=1))
            loop.close()

    async def _run_once(self) -> None:
        """Until the cache is closed. Raises: what Faust failed with."""
        with tempfile.TemporaryDirectory(
            prefix="slipstream-cache-"
        ) as folder:  # Faust wants one, also to keep nothing in it
            app, table = self._build(await partition_count(self._settings, self._topic), folder)
            await self._run_app(app, table)

    async def _run_app(self, app: Any, table: Any) -> None:
        try:
            await _within(START_WITHIN_S, app.start())
            self._app, self._table = app, table
            while not self._closing.is_set():
                if app.should_stop:
                    raise FaustStopped(f"crashed with {type(app.crash_reason).__name__}")
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            self._app = None
            # After a crash the app fails to stop, and leaves a thread, connections, and agents that
            # start again when they are cancelled.
            for part in (app, app.agents, app.tables, app.consumer, app.producer):
                with contextlib.suppress(Exception):
                    await _within(STOP_WITHIN_S, part.stop())

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
            broker_session_timeout=self._settings.session_timeout_ms / 1000,
            broker_heartbeat_interval=self._settings.session_timeout_ms / 4000,
            broker_rebalance_timeout=self._settings.session_timeout_ms / 1000,
            broker_commit_interval=1.0,
        )
        app.loop = asyncio.get_running_loop()
        # Other instances' updates are seen live only with a buffer of one, and written at all only
        # with the partitions of the source.
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
                self._failed("an update", error)

    def _failed(self, what: str, error: Exception) -> None:
        self.failures += 1
        why = str(error) if isinstance(error, FaustStopped) else type(error).__name__
        log.warning("%s (%s) failed: %s", what, self.name, why)

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


async def _within(seconds: float, step: Coroutine[Any, Any, Any]) -> None:
    """Wait for a step of Faust, but not for its cancellation as ``wait_for`` does. Raises:
    FaustStopped; what the step raised.
    """
    task = asyncio.create_task(step)
    await asyncio.wait((task,), timeout=seconds)
    if not task.done():
        task.cancel()
        raise FaustStopped(f"stuck for {seconds:.0f} s")
    if task.cancelled():
        raise FaustStopped("cancelled by itself")
    task.result()


async def _cancel_all(*, within_s: float) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=within_s)
