"""Run a stack in a background thread, for programs without an event loop (a test session)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, TypeVar

from tools.stack.kafka.cluster import KafkaCluster

T = TypeVar("T")


class BackgroundLoop:
    """An event loop in a thread of its own, until the `with` block ends."""

    def __init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="background loop")
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def __enter__(self) -> BackgroundLoop:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the background loop and block this thread until it is done."""
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def run_async(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the background loop and await it in this thread's own loop."""
        assert self._loop is not None
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    @contextmanager
    def entered(self, resource: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Keep a resource open on the background loop."""
        value = self.call(resource.__aenter__())
        try:
            yield value
        finally:
            self.call(resource.__aexit__(None, None, None))

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()


class BackgroundCluster:
    """A Kafka cluster on a background loop, whose brokers a test can stop and start from its own
    loop.
    """

    def __init__(self, loop: BackgroundLoop, cluster: KafkaCluster) -> None:
        self._loop = loop
        self._cluster = cluster

    @property
    def bootstrap_servers(self) -> str:
        """All brokers' addresses."""
        return self._cluster.bootstrap_servers

    @property
    def brokers(self) -> tuple[int, ...]:
        """The ids of all brokers, running or not."""
        return self._cluster.brokers

    async def kill(self, broker: int) -> None:
        """Kill a broker."""
        await self._loop.run_async(self._cluster.kill(broker))

    async def stop(self, broker: int) -> None:
        """Stop a broker after it has handed over its leaderships."""
        await self._loop.run_async(self._cluster.stop(broker))

    async def restart(self, broker: int) -> None:
        """Start a broker on its existing data; return once it knows all brokers that should run."""
        await self._loop.run_async(self._cluster.restart(broker))

    async def freeze(self, broker: int) -> None:
        """Freeze a broker, as if its disk did not answer."""
        await self._loop.run_async(self._cluster.freeze(broker))

    async def resume(self, broker: int) -> None:
        """Let a frozen broker continue."""
        await self._loop.run_async(self._cluster.resume(broker))

    def restore(self) -> None:
        """Start all brokers that do not run."""
        self._loop.call(self._cluster.restore())
