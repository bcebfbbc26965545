"""A node like Polygon's in front of an anvil that mines only when it is told to."""

from collections.abc import AsyncIterator, Iterator

import pytest

from services.paper_venue.polygon_node.node import PolygonNode
from shared.chain.rpc import Rpc
from tests.integration.polygon_node.senders import Sender, fund_sender
from tools.stack.background import BackgroundLoop
from tools.stack.local import LocalStack
from tools.stack.settings import StackSettings


@pytest.fixture(scope="session")
def rpc_url(background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = StackSettings(
        folder=tmp_path_factory.mktemp("node-chain"), mining="manual", durable=False
    )
    with background.entered(LocalStack(settings, parts=["chain"])) as stack:
        yield stack.rpc_url


@pytest.fixture
async def node(rpc_url: str) -> AsyncIterator[PolygonNode]:
    """A node with two fronts, whose base fee is 100 gwei, and a chain with some blocks."""
    async with PolygonNode(rpc_url, ports=(0, 0)) as opened:
        opened.set_base_fee(100 * 10**9)
        await opened.mine(6)
        yield opened


@pytest.fixture
async def rpc(node: PolygonNode) -> AsyncIterator[Rpc]:
    """A client of the first front."""
    client = Rpc(node.fronts[0].url, timeout_s=60)
    yield client
    await client.close()


@pytest.fixture
async def other_rpc(node: PolygonNode) -> AsyncIterator[Rpc]:
    """A client of the second front."""
    client = Rpc(node.fronts[1].url, timeout_s=60)
    yield client
    await client.close()


@pytest.fixture
async def sender(node: PolygonNode, rpc: Rpc) -> Sender:
    """An account of this test's own, with money."""
    return await fund_sender(rpc)
