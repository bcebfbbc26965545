"""Download everything that the stack needs, and create Kafka's ahead-of-time cache."""

from __future__ import annotations

from collections.abc import Callable

from tools.stack import npm
from tools.stack.cache import Cache
from tools.stack.kafka import jars
from tools.stack.kafka.java import Java
from tools.stack.kafka.startup_cache import StartupCache
from tools.stack.settings import StackSettings
from tools.stack.supervisor import Supervisor


async def fetch_all(settings: StackSettings, *, report: Callable[[str], None]) -> None:
    """Fill the cache and check what is there already. `report` is called with a line per step.

    Raises:
        StackError: no network, no disk space, or a download that does not match the lock files.
    """
    cache = Cache(settings.cache_folder)
    async with Supervisor(settings.folder) as supervisor:
        report(f"Kafka's jars, into {cache.folder}")
        java = Java(jars=await jars.install(cache), heap_mb=settings.kafka_heap_mb)
        report("npm packages of the local chain")
        await npm.install(cache, supervisor)
        startup_cache = StartupCache(cache, java)
        if not startup_cache.is_trained:
            report("Kafka's ahead-of-time cache (about 15 s)")
            await startup_cache.ensure_checkpoint(supervisor)
            await startup_cache.train(supervisor)
