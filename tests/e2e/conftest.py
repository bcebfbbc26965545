"""One deployment for each module of stories; every story has a leader and followers of its own in
it.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.system.deployment import Deployment, deployed
from tests.system.story import Story, story_in
from tools.stack.background import BackgroundLoop


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Everything as `make demo` starts it, exporting its spans. A module that needs it otherwise
    has a fixture of this name.
    """
    with background.entered(
        deployed(tmp_path_factory.mktemp("deployment"), background, circles=6)
    ) as deployment:
        yield deployment


@pytest.fixture
async def story(deployment: Deployment) -> AsyncIterator[Story]:
    async with story_in(deployment, deployment.follow_groups.popleft()) as story:
        yield story
