"""A chain for these tests alone: they reorganize it, and sum up its balances."""

from collections.abc import AsyncIterator, Iterator

import pytest

from services.paper_venue.chain.artifacts import Artifacts, load_artifacts
from services.paper_venue.chain.deployment import Deployment, deploy
from shared.chain.client import ChainClient
from tools.stack.background import BackgroundLoop
from tools.stack.local import LocalStack
from tools.stack.npm import package_folder
from tools.stack.settings import StackSettings


@pytest.fixture(scope="session")
def rpc_url(background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = StackSettings(
        folder=tmp_path_factory.mktemp("chain"), mining="automine", durable=False
    )
    with background.entered(LocalStack(settings, parts=["chain"])) as stack:
        yield stack.rpc_url


@pytest.fixture
def artifacts(rpc_url: str) -> Artifacts:
    """The bytecode; starting the chain has installed the packages."""
    assert rpc_url
    return load_artifacts(package_folder("@gnosis.pm/safe-contracts").parents[1])


@pytest.fixture
async def deployment(rpc_url: str, artifacts: Artifacts) -> AsyncIterator[Deployment]:
    deployed = await deploy(rpc_url, artifacts)
    yield deployed
    await deployed.rpc.close()


@pytest.fixture
def chain(deployment: Deployment) -> ChainClient:
    return ChainClient(deployment.rpc)
