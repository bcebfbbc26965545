"""Every message survives its wire form, is decoded tolerantly and built strictly."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from services.preflight.decisions import Verdict
from shared.messages.base import Address, ExactDecimal, Message, Micros, PositiveMicros
from shared.messages.leader_fills import LeaderFillSeen
from shared.streams.topics import TOPICS
from tests.builders import NOON, PROXY, a_fill, a_quote, an_intent, approved, refused
from tests.unit.messages.samples import SAMPLES
from tools.schemas import message_classes

TOPIC_BY_NAME = {topic.name: topic for topic in TOPICS}
FOR_EVERY_SAMPLE = pytest.mark.parametrize(
    ("message", "key"), SAMPLES, ids=lambda value: type(value).__name__
)
FOR_EVERY_CLASS = pytest.mark.parametrize("kind", message_classes(), ids=lambda kind: kind.__name__)


@FOR_EVERY_CLASS
def test_there_is_a_sample_of_every_class(kind: type[Message]) -> None:
    assert kind in {type(message) for message, _ in SAMPLES}


@FOR_EVERY_SAMPLE
def test_a_message_survives_its_wire_form(message: Message, key: str) -> None:
    again = type(message).model_validate_json(message.model_dump_json())

    assert again == message
    assert again.model_dump_json() == message.model_dump_json()


@FOR_EVERY_SAMPLE
def test_a_field_of_a_newer_release_is_tolerated_when_reading_and_refused_when_building(
    message: Message, key: str
) -> None:
    def add_fields(value: Any) -> Any:
        """Add an unknown field at every depth that has declared fields."""
        if isinstance(value, dict) and not any(
            name.startswith("0x") or name.isdigit() for name in value
        ):
            return {name: add_fields(inner) for name, inner in value.items()} | {
                "of_a_newer_release": 1
            }
        return (
            [add_fields(each) for each in value]
            if isinstance(value, list) and value and isinstance(value[0], dict)
            else value
        )

    newer = add_fields(json.loads(message.model_dump_json()))

    assert type(message).model_validate_json(json.dumps(newer), extra="ignore") == message
    with pytest.raises(ValidationError, match="of_a_newer_release"):
        type(message).model_validate(newer)


@FOR_EVERY_SAMPLE
def test_the_key_of_a_message_is_the_one_that_its_topic_declares(
    message: Message, key: str
) -> None:
    assert message.key() == key.encode()


@FOR_EVERY_CLASS
def test_the_topic_of_every_class_is_declared(kind: type[Message]) -> None:
    assert kind.topic in TOPIC_BY_NAME


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_declared_topic_has_a_message_class(topic: Any) -> None:
    is_changelog = topic.name.endswith("-changelog")

    assert is_changelog or topic.name in {kind.topic for kind in message_classes()}


@FOR_EVERY_CLASS
def test_a_class_has_version_one_and_a_docstring(kind: type[Message]) -> None:
    assert kind.model_fields["version"].default == 1
    assert (kind.__doc__ or "").strip()


@FOR_EVERY_SAMPLE
def test_no_message_contains_a_json_number_with_a_fraction(message: Message, key: str) -> None:
    def fail(text: str) -> None:
        raise AssertionError(f"{text} travels as a number")

    json.loads(message.model_dump_json(), parse_float=fail)


@FOR_EVERY_SAMPLE
def test_a_message_cannot_be_changed(message: Message, key: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(message, "message_id", "other")  # noqa: B010 - a checker would refuse the plain way


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_survives_the_wire_to_its_last_digit(number: Decimal) -> None:
    adapter = TypeAdapter(ExactDecimal)

    again = adapter.validate_json(adapter.dump_json(number))

    assert again == number
    assert adapter.dump_json(number)[:1] == b'"'


@pytest.mark.parametrize(
    "wire",
    [b"0.1", b"1", b"1e-3", b"true", b"null", b'"NaN"', b'"Infinity"', b'"cheap"', b'""', b"[]"],
)
def test_a_decimal_is_read_from_text_only(wire: bytes) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(ExactDecimal).validate_json(wire)


@pytest.mark.parametrize("given_", [0.1, 1, True, None, float("nan"), Decimal("NaN")])
def test_a_decimal_is_built_from_text_or_decimals_only(given_: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(ExactDecimal).validate_python(given_)


@pytest.mark.parametrize("amount", [1.0, 0.5, True, False, "1", None, Decimal(1)])
@pytest.mark.parametrize("kind", [Micros, PositiveMicros])
def test_an_amount_is_an_integer_and_nothing_similar(kind: Any, amount: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(amount)


@pytest.mark.parametrize("wire", [b"1.0", b"0.5", b"1e3", b"true", b'"1"'])
def test_an_amount_on_the_wire_is_an_integer(wire: bytes) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Micros).validate_json(wire)


@pytest.mark.parametrize("amount", [0, -1])
def test_a_positive_amount_is_not_zero_or_negative(amount: int) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(PositiveMicros).validate_python(amount)


@pytest.mark.parametrize(
    "address", ["", "0x12", PROXY[2:], PROXY + "0", PROXY[:-1] + "g", PROXY + "\n"]
)
def test_an_invalid_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Address).validate_python(address)


def test_a_time_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        a_fill(filled_at=datetime(2026, 1, 1))  # noqa: DTZ001 - the case


def test_the_id_of_a_trade_does_not_depend_on_the_source_of_its_fill() -> None:
    assert (
        a_fill().trade_id
        == a_fill(row_id="other", source="chain", shares=1, price="0.1", occurred_at=NOON).trade_id
    )
    assert a_fill().trade_id != a_fill(side="SELL").trade_id


@pytest.mark.parametrize(
    "verdict", [approved(), refused()], ids=lambda verdict: type(verdict).__name__
)
def test_both_kinds_of_verdict_are_read_from_their_json(verdict: Verdict) -> None:
    either: TypeAdapter[Verdict] = TypeAdapter(Verdict)

    assert either.validate_json(verdict.model_dump_json()) == verdict


@pytest.mark.parametrize("price", ["0", "-0.5", "1", "1E-999", "1e999999", "NaN"])
def test_a_fill_with_an_impossible_price_is_refused(price: str) -> None:
    """An intent at a price of zero or almost zero would stop every service that divides by it."""
    fill = a_fill().model_dump(mode="json") | {"price": price}

    with pytest.raises(ValidationError):
        LeaderFillSeen.model_validate_json(json.dumps(fill))


@pytest.mark.parametrize("amount", [-1, 10**24 + 1])
@pytest.mark.parametrize("field", ["usdc", "shares"])
def test_an_intent_with_an_impossible_amount_is_refused(field: str, amount: int) -> None:
    with pytest.raises(ValidationError):
        an_intent(**{field: amount})


@pytest.mark.parametrize("wrong", [{"levels": ()}, {"tick_size": Decimal(0)}])
def test_a_quote_without_a_level_or_a_tick_size_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        a_quote(**wrong)
