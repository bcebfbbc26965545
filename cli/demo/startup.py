"""Start and stop the demo's processes, show each step, and let other commands find them."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cli.demo.screen import Screen, step
from tools.pipeline.local import LocalPipeline
from tools.stack.local import VARIABLES, LocalStack, PartName
from tools.stack.settings import StackSettings
from tools.stack.state import PartState, StackState, remove_state, write_state

POLL_INTERVAL_S = 0.1
STEP_NAMES: Mapping[PartName, str] = {
    "kafka": "Kafka (Apache Kafka, KRaft; its jars are downloaded the first time)",
    "postgres": "PostgreSQL",
    "chain": "chain (anvil; its npm packages are downloaded the first time)",
}


@asynccontextmanager
async def local_stack(settings: StackSettings, screen: Screen) -> AsyncIterator[LocalStack]:
    """Kafka, PostgreSQL and the chain. Raises: StackError."""
    stack = LocalStack(settings)
    progress = asyncio.create_task(_show_progress(stack, screen), name="parts shown")
    try:
        await stack.__aenter__()
    except BaseException:
        await _cancel(progress)
        raise
    await progress
    async with _closing(stack):
        yield stack


@asynccontextmanager
async def _closing(stack: LocalStack) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await stack.__aexit__(None, None, None)


async def _show_progress(stack: LocalStack, screen: Screen) -> None:
    """Until the address of each part is known."""
    for name in STEP_NAMES.values():
        screen.begin(name)
    missing = dict(STEP_NAMES)
    while missing:
        for part in [part for part in missing if VARIABLES[part] in stack.environment()]:
            screen.done(missing.pop(part))
        await asyncio.sleep(POLL_INTERVAL_S)


async def start_services(
    pipeline: LocalPipeline, screen: Screen, names: Sequence[str]
) -> dict[str, str]:
    """Start them all at the same time. Returns the URL of each one's probes. Raises: PartDied."""

    async def start(name: str) -> str:
        with step(screen, name):
            return (await pipeline.start_service(name)).health_url

    urls = await asyncio.gather(*(start(name) for name in names))
    return dict(zip(names, urls, strict=True))


async def stop_services(pipeline: LocalPipeline) -> None:
    """Stop them all at the same time: each finishes what it has begun."""
    await asyncio.gather(
        *(pipeline.stack.supervisor.stop(running) for running in pipeline.running.values())
    )


@asynccontextmanager
async def published_state(
    stack: LocalStack, folder: Path, health_urls: dict[str, str]
) -> AsyncIterator[None]:
    """Publish the state of the stack, so that `slipstream status`, `follow`, `pause` and the like
    find it.
    """
    ports = {name: int(url.rpartition(":")[2]) for name, url in health_urls.items()}
    parts = tuple(
        PartState(
            name=running.name,
            pid=running.pid,
            port=ports.get(running.name, running.part.port),
            log=str(running.log),
        )
        for running in stack.supervisor.running
        if running.part.vital
    )
    write_state(folder, StackState(pid=os.getpid(), environment=stack.environment(), parts=parts))
    try:
        yield
    finally:
        remove_state(folder)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
