"""A network that swallows packets or resets connections between a service and its broker: the
service is not ready meanwhile and works again afterwards; nothing is lost. What was not committed
is delivered again, as always.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from shared.messages.base import Message
from shared.streams.producer import Producer
from shared.streams.settings import KafkaSettings
from shared.testing.waiting import eventually
from tests.integration.streams.behind_relay import relayed_broker
from tests.integration.streams.conftest import running_harness
from tests.integration.streams.loop_harness import ExampleMessage, LoopHarness, build_message
from tests.system.faulty_relay import BLACK_HOLE, HOST, NO_FAULTS, Faults, FaultyRelay

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

WITHIN_S = 180


@pytest.fixture
async def relay(kafka: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FaultyRelay]:
    async with relayed_broker(kafka, monkeypatch) as relay:
        yield relay


@pytest.fixture
def behind(relay: FaultyRelay, settings: KafkaSettings) -> KafkaSettings:
    """The settings of a service that reaches its broker through the relay."""
    return settings.model_copy(
        update={"bootstrap_servers": f"{HOST}:{relay.port}", "request_timeout_ms": 1_000}
    )


@pytest.fixture
async def direct(settings: KafkaSettings) -> AsyncIterator[LoopHarness]:
    """What the test itself sends and reads does not go through the relay."""
    async with running_harness(settings) as harness:
        yield harness


class Echo:
    """A service behind the relay that replies to every message with its text."""

    def __init__(self, harness: LoopHarness, settings: KafkaSettings, producer: Producer) -> None:
        self.handled: list[str] = []
        self.before_reply: Callable[[], Awaitable[None]] | None = None
        self._harness = harness
        self.running = harness.start(
            {harness.request: self.on_request},
            producer=producer,
            bootstrap_servers=settings.bootstrap_servers,
            request_timeout_ms=settings.request_timeout_ms,
        )

    async def on_request(self, message: ExampleMessage) -> Sequence[Message]:
        self.handled.append(message.text)
        if self.before_reply is not None:
            await self.before_reply()
        return [build_message(self._harness.reply, message.sender, message.text)]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not ready."""
        return self.running.loop.health().ready

    async def wait_until_ready(self) -> None:
        await eventually(lambda: not self.reasons, within=WITHIN_S, what="ready")


@pytest.fixture
async def echo(direct: LoopHarness, behind: KafkaSettings) -> AsyncIterator[Echo]:
    async with Producer(behind) as producer:
        echo = Echo(direct, behind, producer)
        await echo.wait_until_ready()
        yield echo
        await echo.running.stop()


async def test_after_a_black_hole_the_service_works_again_and_nothing_is_lost(
    echo: Echo, direct: LoopHarness, relay: FaultyRelay
) -> None:
    await direct.send("anna", "before")
    assert await direct.fetch_replies(1) == ["before"]
    relay.faults = BLACK_HOLE
    await direct.send("anna", "during")
    await eventually(
        lambda: "Kafka does not answer" in echo.reasons, within=WITHIN_S, what="not ready"
    )
    assert echo.running.loop.health().live == (), "a restart would not help"
    relay.faults = NO_FAULTS
    await echo.wait_until_ready()
    await direct.send("anna", "after")

    assert list(dict.fromkeys(await direct.fetch_replies(3))) == ["before", "during", "after"]
    await direct.wait_for_commits(3)
    assert list(dict.fromkeys(echo.handled)) == ["before", "during", "after"]


async def test_an_output_that_a_black_hole_swallowed_is_published_after_it(
    echo: Echo, direct: LoopHarness, relay: FaultyRelay
) -> None:
    """Nothing was published on the topic before, so that its partitions are not known yet."""

    async def swallow() -> None:
        relay.faults = BLACK_HOLE

    echo.before_reply = swallow
    await direct.send("anna", "hello")
    await eventually(
        lambda: "Kafka does not answer" in echo.reasons, within=WITHIN_S, what="not ready"
    )
    relay.faults = NO_FAULTS
    echo.before_reply = None

    assert set(await direct.fetch_replies(1)) == {"hello"}
    await direct.wait_for_commits(1)
    await echo.wait_until_ready()


@pytest.mark.parametrize("faults", [NO_FAULTS, Faults(latency_s=0.05)], ids=["reset", "latency"])
async def test_connections_that_are_reset_cost_nothing(
    echo: Echo, direct: LoopHarness, relay: FaultyRelay, faults: Faults
) -> None:
    relay.faults = faults
    for number in range(5):
        await direct.send("anna", number)
        relay.reset()
        await eventually(lambda: str(number) in echo.handled, within=WITHIN_S)  # noqa: B023

    assert list(dict.fromkeys(await direct.fetch_replies(5))) == [str(each) for each in range(5)]
    await direct.wait_for_commits(5)
    await echo.wait_until_ready()


async def test_while_connections_are_refused_the_service_is_not_ready(
    echo: Echo, direct: LoopHarness, relay: FaultyRelay
) -> None:
    relay.refuse()
    relay.reset()
    await eventually(
        lambda: "Kafka does not answer" in echo.reasons, within=WITHIN_S, what="not ready"
    )

    await relay.listen()
    await direct.send("anna", "hello")

    assert set(await direct.fetch_replies(1)) == {"hello"}
    await echo.wait_until_ready()
