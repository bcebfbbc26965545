"""Is the Kafka cluster up? Starts, stops, kills and restarts its brokers."""

from __future__ import annotations

import asyncio
import signal

from tools.stack.kafka.broker import broker_part, format_folder
from tools.stack.kafka.config import Node
from tools.stack.kafka.warm import Warmth
from tools.stack.supervisor import Running, Supervisor


class KafkaCluster:
    """Real brokers in KRaft mode, each broker and controller at once, on this machine."""

    def __init__(self, supervisor: Supervisor, warmth: Warmth, nodes: tuple[Node, ...]) -> None:
        self._supervisor = supervisor
        self._warmth = warmth
        self._nodes = {node.id: node for node in nodes}
        self._expected: set[Node] = set()
        self._running: dict[int, Running] = {}

    @property
    def bootstrap_servers(self) -> str:
        """All brokers' addresses, as clients want them: "host:port,host:port"."""
        return ",".join(node.address for node in self._nodes.values())

    @property
    def brokers(self) -> tuple[int, ...]:
        """The ids of all brokers, running or not."""
        return tuple(self._nodes)

    async def start(self) -> None:
        """Format the brokers' folders, start them side by side, and return once each knows all."""
        checkpoint = await self._warmth.formatted_checkpoint(self._supervisor)
        nodes = tuple(self._nodes.values())
        for node in nodes:
            format_folder(node, nodes, checkpoint)
        self._expected = set(nodes)
        await asyncio.gather(*(self.restart(node.id) for node in nodes))

    async def restart(self, broker: int) -> None:
        """Start a broker on the data that it has, and return once it knows all the brokers that are
        meant to run.
        """
        node = self._nodes[broker]
        self._expected.add(node)
        part = broker_part(
            self._name(broker),
            node,
            self._warmth.java,
            flags=self._warmth.flags(),
            expected=self._expected,
        )
        self._running[broker] = await self._supervisor.start(part)

    async def stop(self, broker: int) -> None:
        """Let a broker hand over what it leads, and end."""
        self._expected.discard(self._nodes[broker])
        await self._supervisor.stop(self._running.pop(broker))

    async def kill(self, broker: int) -> None:
        """End a broker as a power cut would."""
        self._expected.discard(self._nodes[broker])
        await self._supervisor.kill(self._running.pop(broker))

    async def stall(self, broker: int) -> None:
        """Let a broker stand still, as one whose disk does not answer: its connections stay open
        and nobody answers on them.
        """
        self._running[broker].signal(signal.SIGSTOP)

    async def go_on(self, broker: int) -> None:
        """After a stall."""
        self._running[broker].signal(signal.SIGCONT)

    async def restore(self) -> None:
        """Start all brokers that do not run."""
        await asyncio.gather(
            *(self.restart(broker) for broker in self._nodes if broker not in self._running)
        )

    async def discard(self) -> None:
        """End a cluster of several at once: its data go with it, and without a majority a broker
        takes long to stop.
        """
        if len(self._nodes) > 1:
            await asyncio.gather(*(self.kill(broker) for broker in tuple(self._running)))

    def _name(self, broker: int) -> str:
        return "kafka" if len(self._nodes) == 1 else f"kafka-{broker}"
