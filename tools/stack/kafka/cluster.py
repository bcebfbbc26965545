"""The local Kafka cluster: start, stop, kill and restart its brokers."""

from __future__ import annotations

import asyncio
import signal

from tools.stack.kafka.broker import broker_part, format_folder
from tools.stack.kafka.config import Node
from tools.stack.kafka.startup_cache import StartupCache
from tools.stack.supervisor import Running, Supervisor


class KafkaCluster:
    """Real brokers in KRaft mode on this machine, each of them also a controller."""

    def __init__(
        self, supervisor: Supervisor, startup_cache: StartupCache, nodes: tuple[Node, ...]
    ) -> None:
        self._supervisor = supervisor
        self._startup_cache = startup_cache
        self._nodes = {node.id: node for node in nodes}
        self._expected: set[Node] = set()
        self._running: dict[int, Running] = {}

    @property
    def bootstrap_servers(self) -> str:
        """All brokers' addresses, in the form of KAFKA_BOOTSTRAP_SERVERS."""
        return ",".join(node.address for node in self._nodes.values())

    @property
    def brokers(self) -> tuple[int, ...]:
        """The ids of all brokers, running or not."""
        return tuple(self._nodes)

    async def start(self) -> None:
        """Format the brokers' folders, start them all, and return once each knows the others."""
        checkpoint = await self._startup_cache.ensure_checkpoint(self._supervisor)
        nodes = tuple(self._nodes.values())
        for node in nodes:
            format_folder(node, nodes, checkpoint)
        self._expected = set(nodes)
        await asyncio.gather(*(self.restart(node.id) for node in nodes))

    async def restart(self, broker: int) -> None:
        """Start a broker on its existing data; return once it knows all brokers that should run."""
        node = self._nodes[broker]
        self._expected.add(node)
        part = broker_part(
            self._name(broker),
            node,
            self._startup_cache.java,
            flags=self._startup_cache.java_flags(),
            expected=self._expected,
        )
        self._running[broker] = await self._supervisor.start(part)

    async def stop(self, broker: int) -> None:
        """Stop a broker after it has handed over its leaderships."""
        self._expected.discard(self._nodes[broker])
        await self._supervisor.stop(self._running.pop(broker))

    async def kill(self, broker: int) -> None:
        """Kill a broker."""
        self._expected.discard(self._nodes[broker])
        await self._supervisor.kill(self._running.pop(broker))

    async def freeze(self, broker: int) -> None:
        """Freeze a broker, as if its disk did not answer: its connections stay open and nothing is
        answered on them.
        """
        self._running[broker].signal(signal.SIGSTOP)

    async def resume(self, broker: int) -> None:
        """Let a frozen broker continue."""
        self._running[broker].signal(signal.SIGCONT)

    async def restore(self) -> None:
        """Start all brokers that do not run."""
        await asyncio.gather(
            *(self.restart(broker) for broker in self._nodes if broker not in self._running)
        )

    async def discard(self) -> None:
        """Kill the brokers of a cluster of several: their data are deleted anyway, and without a
        majority a broker takes long to stop.
        """
        if len(self._nodes) > 1:
            await asyncio.gather(*(self.kill(broker) for broker in tuple(self._running)))

    def _name(self, broker: int) -> str:
        return "kafka" if len(self._nodes) == 1 else f"kafka-{broker}"
