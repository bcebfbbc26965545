"""Render a broker's configuration files. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tools.stack.ports import HOST

CLUSTER_ID = "slipstream-local-stack"  # any 22 characters of base64url


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One combined broker and controller: its id (from 1), its two ports, and its data folder."""

    id: int
    client_port: int
    controller_port: int
    data: Path

    @property
    def address(self) -> str:
        return f"{HOST}:{self.client_port}"


def render_properties(node: Node, cluster: tuple[Node, ...]) -> str:
    """Return the server.properties of one node: small internal topics, no automatic creation of
    topics, quick detection of a lost broker.
    """
    replicas = len(cluster)
    in_sync = max(1, replicas - 1)
    properties = {
        "process.roles": "broker,controller",
        "node.id": node.id,
        "controller.quorum.voters": ",".join(
            f"{peer.id}@{HOST}:{peer.controller_port}" for peer in cluster
        ),
        "listeners": f"PLAINTEXT://{node.address},CONTROLLER://{HOST}:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{node.address}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": node.data,
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        # A killed broker is fenced after 3 s instead of 9.
        "broker.heartbeat.interval.ms": 500,
        "broker.session.timeout.ms": 3000,
        # The defaults reserve 128 MB of heap for compaction and 20 MB of (sparse) index files for
        # each partition.
        "log.cleaner.dedupe.buffer.size": 16_777_216,
        "log.index.size.max.bytes": 1_048_576,
    }
    return "".join(f"{key}={value}\n" for key, value in properties.items())


def render_meta_properties(node: Node, directory_id: str) -> str:
    """Return the meta.properties by which a broker recognises its folder; `directory_id` is 22
    characters of base64url.
    """
    return f"version=1\ncluster.id={CLUSTER_ID}\nnode.id={node.id}\ndirectory.id={directory_id}\n"
