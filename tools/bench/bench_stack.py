"""A new stack for a measurement: broker, database, the benchmark's venue and its node."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tools.bench.node import HOST
from tools.bench.path import wait_for
from tools.bench.venue import BenchVenue
from tools.stack.local import LocalStack
from tools.stack.ports import Ports
from tools.stack.settings import REPOSITORY, StackSettings
from tools.stack.supervisor import Part, Running

TRAINING_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchStack:
    stack: LocalStack
    venue: BenchVenue
    node: Running
    folder: Path
    """For the files of a run."""

    def environment(self) -> dict[str, str]:
        """The variables by which the services find all of it."""
        return {**self.stack.environment(), **self.venue.environment()}


@asynccontextmanager
async def open_bench_stack(
    folder: Path, *, postgres_settings: Mapping[str, str] | None = None
) -> AsyncIterator[BenchStack]:
    """Start everything empty and durable, with fully compiled Java; delete it at the end."""
    settings = StackSettings(
        folder=folder / "stack",
        kafka_bootstrap_servers=None,
        database_url=None,
        brokers=1,
        quick_compile=False,
        durable=True,
    )
    ports = Ports()
    async with LocalStack(
        settings, parts=("kafka", "postgres"), postgres_settings=postgres_settings
    ) as stack:
        await wait_for(
            lambda: not _is_training(stack),
            "Kafka's ahead-of-time cache is created",
            within_s=TRAINING_TIMEOUT_S,
        )
        node_port = ports.reserve_free()
        node = await stack.supervisor.start(_build_node(node_port))
        async with BenchVenue(ports.reserve_free(), node_url=f"http://{HOST}:{node_port}") as venue:
            yield BenchStack(stack=stack, venue=venue, node=node, folder=folder)


def _is_training(stack: LocalStack) -> bool:
    return any(running.name == "kafka-training" for running in stack.supervisor.running)


def _build_node(port: int) -> Part:
    return Part(
        name="bench-node",
        command=[sys.executable, "-m", "tools.bench.node", str(port)],
        cwd=REPOSITORY,
        ready=lambda: _answers(f"http://{HOST}:{port}/rpc"),
        stop_within=2,
    )


async def _answers(url: str) -> bool:
    call = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
    try:
        async with aiohttp.ClientSession() as session, session.post(url, json=call) as reply:
            return reply.status == 200
    except (aiohttp.ClientError, OSError):
        return False
