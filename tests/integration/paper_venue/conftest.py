"""A paper venue on its own chain, shared by all tests of a session."""

from collections.abc import Iterator

import pytest

from tests.integration.paper_venue.venue import MARKETS_PER_EDITION, PaperVenue, start_venue
from tools.stack.background import BackgroundLoop
from tools.stack.local import LocalStack
from tools.stack.settings import StackSettings


@pytest.fixture(scope="session")
def rpc_url(background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A chain that this venue alone writes to."""
    settings = StackSettings(
        folder=tmp_path_factory.mktemp("venue-chain"), mining="automine", durable=False
    )
    with background.entered(LocalStack(settings, parts=["chain"])) as stack:
        yield stack.rpc_url


@pytest.fixture(scope="session")
def venue(rpc_url: str) -> Iterator[PaperVenue]:
    """A venue whose prices only trades move. Its first edition of markets is never resolved."""
    with start_venue(
        rpc_url, DATA_LAG="0.5", MARKETS=str(3 * MARKETS_PER_EDITION), DRIFT_PER_SECOND="0"
    ) as venue:
        yield venue
