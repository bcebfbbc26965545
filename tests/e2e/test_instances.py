"""Two instances of a service share its messages, and each copy is made once."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from shared.domain.money import Side
from shared.testing.waiting import eventually
from tests.system.deployment import Deployment, running_deployment
from tests.system.story import TIMEOUT_S, Story
from tools.stack.background import BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SPAN_BY_SERVICE = {
    "pricer": "process copy-intents",
    "preflight": "process quoted-intents",
    "executor": "process approved-intents",
}


@pytest.fixture(scope="module")
def deployment(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    with background.entered(
        running_deployment(tmp_path_factory.mktemp("instances"), background, follow_groups=4)
    ) as deployment:
        yield deployment


async def test_two_instances_of_pricer_preflight_and_executor_share_the_work(story: Story) -> None:
    await story.deployment.start(*SPAN_BY_SERVICE, instance=1)
    stories = [story, *(replace(story, group=group) for group in story.deployment.follow_groups)]

    trades = [await each.make_leader_trade(Side.BUY, "50") for each in stories]
    for each, trade in zip(stories, trades, strict=True):
        await each.wait_for_confirmed_orders(trade)

    def both_instances_work() -> bool:
        spans = story.deployment.collector.spans
        instances = {
            (span.service, span.name, span.resource["service.instance.id"]) for span in spans
        }
        return all(
            sum(seen[:2] == (service, name) for seen in instances) == 2
            for service, name in SPAN_BY_SERVICE.items()
        )

    await eventually(
        both_instances_work,
        within=TIMEOUT_S,
        what="messages handled by both instances of each service",
    )
    for each in stories:
        await each.assert_venue_has_one_order_per_confirmed_copy()
        await each.assert_records_equal_the_chain(story.tokens[0])
