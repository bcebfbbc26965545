"""One broker: its formatted data folder, its command and its readiness."""

from __future__ import annotations

import base64
import secrets
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tools.stack.kafka.config import Node, render_meta_properties, render_properties
from tools.stack.kafka.java import Java
from tools.stack.ports import accepts_connections
from tools.stack.supervisor import Part

REQUEST_TIMEOUT_MS = 5000


def properties_file(node: Node) -> Path:
    """Return the path of a broker's configuration: next to its data."""
    return node.data.with_suffix(".properties")


def format_folder(node: Node, cluster: tuple[Node, ...], checkpoint: Path) -> None:
    """Create a broker's empty data folder, as `kafka-storage format` would with a start of Java."""
    node.data.mkdir(parents=True)
    shutil.copy(checkpoint, node.data)
    directory_id = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
    (node.data / "meta.properties").write_text(render_meta_properties(node, directory_id))
    properties_file(node).write_text(render_properties(node, cluster))


def broker_part(
    name: str, node: Node, java: Java, *, flags: Sequence[str] = (), expected: Collection[Node]
) -> Part:
    """Return the part that runs one broker on its formatted folder. It is ready when it knows all
    expected brokers.
    """

    async def ready() -> bool:
        if not all(accepts_connections(peer.client_port) for peer in expected):
            return False
        return {peer.id for peer in expected} <= await _fetch_known_brokers(node.address)

    command = java.command("kafka.Kafka", properties_file(node), flags=flags)
    return Part(
        name=name,
        command=command,
        cwd=node.data.parent,
        ready=ready,
        ready_within=180,
        stop_within=15,
        port=node.client_port,
    )


async def _fetch_known_brokers(address: str) -> set[int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=address, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        answer = await admin.describe_cluster()
    except KafkaError:
        return set()
    finally:
        await admin.close()
    return {broker["node_id"] for broker in answer["brokers"]}
