"""The small parts of the message loop: back-off, dead letters, partitions, settings."""

from collections import Counter

import pytest
from aiokafka import TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import InvalidSettings
from shared.messages.dead_letters import DeadLetter
from shared.settings import read
from shared.streams.backoff import Backoff
from shared.streams.dead_letters import DeadLetterLimit, TooManyDeadLetters, build_dead_letter
from shared.streams.partitioning import Ownership, Partitioner
from shared.streams.settings import KafkaSettings
from tests.unit.streams.fake_kafka import FakeRecord

BACKOFF = Backoff(first_s=0.05, max_s=10, jitter=0.5)


def test_the_delay_doubles_up_to_the_maximum() -> None:
    assert [BACKOFF.delay(attempt, chance=0) for attempt in (1, 2, 3, 8, 9, 10_000)] == [
        0.05,
        0.1,
        0.2,
        6.4,
        10,
        10,
    ]


@pytest.mark.parametrize("timestamp", [-(2**63), 2**63 - 1])
def test_a_record_without_values_and_with_an_impossible_date_can_be_parked(
    timestamp: int,
) -> None:
    record = FakeRecord("fills", 3, 7, timestamp, None, None, [("type", None)])  # type: ignore[list-item]

    dead_letter = build_dead_letter(record, service="pricer", reason="not a Fill")

    assert (dead_letter.occurred_at.year, dead_letter.record_type, dead_letter.record_headers) == (
        1970,
        "",
        (("type", b""),),
    )


@given(attempt=st.integers(1, 10_000))
def test_a_random_delay_is_at_least_half_of_the_full_one(attempt: int) -> None:
    whole = BACKOFF.delay(attempt, chance=0)

    assert whole / 2 <= BACKOFF.delay(attempt) <= whole


def test_a_limit_is_reached_and_recovers_with_time() -> None:
    limit = DeadLetterLimit(limit=2, window_s=60)
    limit.count(0)
    limit.count(30)

    with pytest.raises(TooManyDeadLetters, match="2 messages in 60 s"):
        limit.count(59)

    limit.count(60)
    with pytest.raises(TooManyDeadLetters):
        limit.count(89)
    limit.count(90)


def test_a_dead_letter_has_the_record_byte_for_byte_also_after_its_wire_form() -> None:
    record = FakeRecord(
        "fills",
        3,
        17,
        1_700_000_000_123,
        b"\xffkey",
        b"\x00value",
        [("type", b"Fill"), ("odd", b"\xfe")],
    )

    dead_letter = build_dead_letter(record, service="pricer", reason="not a Fill")

    assert dead_letter == build_dead_letter(record, service="pricer", reason="not a Fill"), (
        "the same however often it is parked"
    )
    received = DeadLetter.model_validate_json(dead_letter.model_dump_json())
    assert received == dead_letter
    assert (received.record_key, received.record_value) == (b"\xffkey", b"\x00value")
    assert received.record_headers == (("type", b"Fill"), ("odd", b"\xfe"))
    assert (received.record_type, received.message_id) == ("Fill", "pricer:fills:3:17")
    assert received.key() == b"\xffkey"


@given(key=st.binary(min_size=1), partitions=st.integers(1, 200))
def test_our_partitioner_agrees_with_kafkas(key: bytes, partitions: int) -> None:
    everything = list(range(partitions))
    ours = Partitioner()

    assert ours(key, everything, everything) == DefaultPartitioner()(key, everything, everything)
    assert ours(key, everything, everything) == ours.partition(key, partitions), (
        "also from its cache"
    )


def test_every_key_is_owned_by_exactly_one_of_all_instances() -> None:
    first, second = Ownership(), Ownership()
    first.assign(
        [TopicPartition("fills", number) for number in range(5)], count_by_topic={"fills": 8}
    )
    second.assign(
        [TopicPartition("fills", number) for number in range(5, 8)], count_by_topic={"fills": 8}
    )
    keys = [b"key-%d" % number for number in range(100)]

    owners = Counter((first.owns(key, "fills"), second.owns(key, "fills")) for key in keys)

    assert set(owners) == {(True, False), (False, True)}
    first.revoke()
    assert not any(first.owns(key, "fills") for key in keys)


def test_settings_without_servers_name_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)

    with pytest.raises(InvalidSettings, match="KAFKA_BOOTSTRAP_SERVERS is not set"):
        read(KafkaSettings)


def test_sasl_without_credentials_is_refused_and_no_secret_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "swordfish")

    with pytest.raises(
        InvalidSettings, match="set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
    ) as raised:
        read(KafkaSettings)

    assert "swordfish" not in str(raised.value)


def test_clients_get_what_the_security_protocol_needs_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAFKA_SASL_USERNAME", "slipstream")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "swordfish")

    plain = KafkaSettings(bootstrap_servers="kafka:9092")
    sasl = KafkaSettings(bootstrap_servers="kafka:9092", security_protocol="SASL_SSL")

    assert plain.client() == {"bootstrap_servers": "kafka:9092", "security_protocol": "PLAINTEXT"}
    assert sasl.client().keys() - plain.client().keys() == {
        "sasl_mechanism",
        "sasl_plain_username",
        "sasl_plain_password",
        "ssl_context",
    }
    assert "swordfish" not in repr(sasl)
