"""Fixtures of the end-to-end tests: one running system for each module, and for each test a leader
and followers of its own in it.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.system.deployment import Deployment, running_deployment
from tests.system.story import Story, open_story
from tools.stack.background import BackgroundLoop


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """The system as `make demo` starts it, exporting its spans. A module that needs another one has
    a fixture of the same name.
    """
    with background.entered(
        running_deployment(tmp_path_factory.mktemp("deployment"), background, follow_groups=6)
    ) as deployment:
        yield deployment


@pytest.fixture
async def story(deployment: Deployment) -> AsyncIterator[Story]:
    async with open_story(deployment, deployment.follow_groups.popleft()) as story:
        yield story
