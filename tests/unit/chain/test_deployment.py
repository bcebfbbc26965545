"""Which chains the paper venue refuses to write to."""

from collections.abc import Sequence
from typing import Any

import pytest

from services.paper_venue.chain.deployment import ForeignChain, require_local


class Node:
    """A node with this client version and chain id."""

    def __init__(self, client: str, chain_id: int) -> None:
        self._answers = {"web3_clientVersion": client, "eth_chainId": hex(chain_id)}

    async def call_batch(self, requests: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        return [self._answers[method] for method, _ in requests]


@pytest.mark.parametrize(
    ("client", "chain_id", "message"),
    [
        ("bor/v2.2.9/linux-amd64/go1.25", 137, "anvil of its own"),
        ("Geth/v1.16", 1, "anvil of its own"),
        ("anvil/v1.7.1", 31337, "--chain-id 137"),
    ],
)
async def test_a_chain_that_is_not_a_local_anvil_for_polygon_is_refused(
    client: str, chain_id: int, message: str
) -> None:
    with pytest.raises(ForeignChain, match=message):
        await require_local(Node(client, chain_id))


async def test_an_anvil_with_polygons_chain_id_is_accepted() -> None:
    await require_local(Node("anvil/v1.7.1", 137))
