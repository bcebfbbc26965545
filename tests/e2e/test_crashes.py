"""After a service is killed and restarted, all copies are finished, and none is made twice."""

from collections.abc import Iterator

import pytest

from shared.domain.money import Side
from tests.system.deployment import Deployment, running_deployment
from tests.system.story import Story
from tools.pipeline.parts import SERVICES
from tools.stack.background import BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    with background.entered(
        running_deployment(
            tmp_path_factory.mktemp("crashes"), background, follow_groups=len(SERVICES)
        )
    ) as deployment:
        yield deployment


@pytest.mark.parametrize("service", SERVICES)
async def test_a_killed_and_restarted_service_loses_and_repeats_no_copy(
    story: Story, service: str
) -> None:
    before = [await story.make_leader_trade(Side.BUY, "20") for _ in range(3)]
    await story.deployment.kill(service)
    while_down = await story.make_leader_trade(Side.BUY, "20")
    await story.deployment.start(service)
    after = await story.make_leader_trade(Side.BUY, "20")

    orders = [
        order
        for trade in [*before, while_down, after]
        for order in (await story.wait_for_confirmed_orders(trade)).values()
    ]

    assert len(orders) == 5 * len(story.group.followers)
    await story.assert_venue_has_one_order_per_confirmed_copy()
    await story.assert_records_equal_the_chain(story.tokens[0])
