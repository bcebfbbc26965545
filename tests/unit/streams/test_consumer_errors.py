"""Why Kafka ended a consumer is logged, whatever the process ends with."""

from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError

from shared.streams.loop import MessageLoop
from shared.streams.membership import InstanceReplaced, Membership
from shared.streams.settings import KafkaSettings
from shared.testing.dead_letters import MemoryDeadLetters
from tests.unit.streams.fake_kafka import FakeConsumer, FakeKafka


class RefusedConsumer(FakeConsumer):
    """Kafka does not let it into the group."""

    async def start(self) -> None:
        raise GroupAuthorizationFailedError("service")


async def test_a_refusal_is_logged_also_where_another_process_has_the_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fetch_member_ids(_: Membership) -> list[str]:
        return ["one-" + "0" * 36]

    def build(*_: Any) -> Any:
        return RefusedConsumer(FakeKafka("tasks", 1))

    monkeypatch.setattr(Membership, "_fetch_member_ids", fetch_member_ids)
    producer: Any = None
    loop = MessageLoop(
        "service",
        {},
        settings=KafkaSettings(bootstrap_servers="none", group_instance_id="one"),
        producer=producer,
        dead_letters=MemoryDeadLetters(),
        build_consumer=build,
    )

    with pytest.raises(InstanceReplaced):
        await loop.run()

    assert "GroupAuthorizationFailedError" in caplog.text
