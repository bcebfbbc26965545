"""The configuration files of brokers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.stack.kafka.config import CLUSTER_ID, Node, render_meta_properties, render_properties


def a_cluster(brokers: int) -> tuple[Node, ...]:
    return tuple(
        Node(
            id=number,
            client_port=20_000 + number,
            controller_port=21_000 + number,
            data=Path(f"data-{number}"),
        )
        for number in range(1, brokers + 1)
    )


def parse(properties: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in properties.splitlines())


def test_a_broker_listens_for_clients_and_for_controllers_on_this_machine_only() -> None:
    [node] = a_cluster(1)

    properties = parse(render_properties(node, (node,)))

    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:20001,CONTROLLER://127.0.0.1:21001"
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:20001"
    assert properties["log.dirs"] == "data-1"


def test_every_node_knows_all_voters() -> None:
    nodes = a_cluster(3)

    voters = {parse(render_properties(node, nodes))["controller.quorum.voters"] for node in nodes}

    assert voters == {"1@127.0.0.1:21001,2@127.0.0.1:21002,3@127.0.0.1:21003"}


@pytest.mark.parametrize(("brokers", "replicas", "in_sync"), [(1, "1", "1"), (3, "3", "2")])
def test_three_brokers_survive_the_loss_of_one(brokers: int, replicas: str, in_sync: str) -> None:
    nodes = a_cluster(brokers)

    properties = parse(render_properties(nodes[0], nodes))

    factors = {value for key, value in properties.items() if key.endswith("replication.factor")}
    minimum = {
        value
        for key, value in properties.items()
        if key.endswith(("min.isr", "min.insync.replicas"))
    }
    assert factors == {replicas}
    assert minimum == {in_sync}


def test_topics_are_not_created_automatically_and_groups_start_immediately() -> None:
    properties = parse(render_properties(a_cluster(1)[0], a_cluster(1)))

    assert properties["auto.create.topics.enable"] == "false"
    assert properties["group.initial.rebalance.delay.ms"] == "0"


def test_a_data_folder_belongs_to_one_node_of_one_cluster() -> None:
    properties = parse(render_meta_properties(a_cluster(3)[1], "AAAAAAAAAAAAAAAAAAAAAA"))

    assert properties == {
        "version": "1",
        "cluster.id": CLUSTER_ID,
        "node.id": "2",
        "directory.id": "AAAAAAAAAAAAAAAAAAAAAA",
    }
