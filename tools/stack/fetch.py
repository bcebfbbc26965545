"""Can the stack start without a network from now on? Downloads everything, and makes Kafka's
ahead-of-time cache.
"""

from __future__ import annotations

from collections.abc import Callable

from tools.stack import npm
from tools.stack.cache import Cache
from tools.stack.kafka import jars
from tools.stack.kafka.java import Java
from tools.stack.kafka.warm import Warmth
from tools.stack.settings import StackSettings
from tools.stack.supervisor import Supervisor


async def fetch(settings: StackSettings, *, report: Callable[[str], None]) -> None:
    """Fill the cache; what is there already is only checked. `report` is told each step.

    Raises:
        StackError: no network, no room, or a download that is not what the lock files say.
    """
    cache = Cache(settings.cache_folder)
    async with Supervisor(settings.folder) as supervisor:
        report(f"Kafka's jars, into {cache.folder}")
        java = Java(jars=await jars.install(cache), heap_mb=settings.kafka_heap_mb)
        report("npm packages of the local chain")
        await npm.install(cache, supervisor)
        warmth = Warmth(cache, java)
        if not warmth.is_trained:
            report("Kafka's ahead-of-time cache (about 15 s)")
            await warmth.formatted_checkpoint(supervisor)
            await warmth.train(supervisor)
