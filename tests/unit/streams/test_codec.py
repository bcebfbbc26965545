"""Messages are encoded as records and decoded again."""

from datetime import UTC, datetime
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import InvalidMessage, UnknownVersion
from shared.messages.base import Message
from shared.streams.codec import Decoder, encode
from tests.unit.streams.fake_kafka import FakeRecord


class Paid(Message):
    topic: ClassVar[str] = "payments"
    customer: str
    micros: int

    def key(self) -> bytes:
        return self.customer.encode()


class Refunded(Paid):
    version: int = 3


def paid(*, customer: str = "anna", micros: int = 5) -> Paid:
    return Paid(
        message_id="payment-1",
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        customer=customer,
        micros=micros,
    )


def record(message: Message, *, key: bytes | None = None, value: bytes | None = None) -> FakeRecord:
    outgoing = encode(message)
    return FakeRecord(
        outgoing.topic,
        0,
        0,
        0,
        key or outgoing.key,
        outgoing.value if value is None else value,
        outgoing.headers,
    )


DECODER = Decoder([Paid, Refunded])


@given(customer=st.text(), micros=st.integers())
def test_an_encoded_message_is_decoded_to_the_same_message(customer: str, micros: int) -> None:
    message = paid(customer=customer, micros=micros)

    assert DECODER.decode(Paid, record(message)) == message


def test_a_record_has_topic_key_and_headers() -> None:
    outgoing = encode(paid(), traceparent="00-aa-bb-01")

    assert (outgoing.topic, outgoing.key) == ("payments", b"anna")
    assert outgoing.headers == [
        ("type", b"Paid"),
        ("version", b"1"),
        ("message_id", b"payment-1"),
        ("traceparent", b"00-aa-bb-01"),
    ]


def test_without_a_trace_there_is_no_traceparent_header() -> None:
    assert "traceparent" not in dict(encode(paid()).headers)


def test_the_type_is_taken_from_the_header() -> None:
    assert DECODER.resolve_type({"type": b"Refunded", "version": b"2"}) is Refunded


@pytest.mark.parametrize(
    "headers",
    [{}, {"type": b"", "version": b"1"}, {"type": b"Paid"}, {"type": b"Paid", "version": b"new"}],
)
def test_a_record_without_a_readable_type_and_version_is_invalid(headers: dict[str, bytes]) -> None:
    with pytest.raises(InvalidMessage):
        DECODER.resolve_type(headers)


@pytest.mark.parametrize(
    "headers", [{"type": b"Stolen", "version": b"1"}, {"type": b"Paid", "version": b"2"}]
)
def test_a_record_of_a_newer_release_has_an_unknown_version(headers: dict[str, bytes]) -> None:
    with pytest.raises(UnknownVersion):
        DECODER.resolve_type(headers)
    assert not DECODER.is_known(
        FakeRecord("payments", 0, 0, 0, b"anna", b"", list(headers.items()))
    )


@pytest.mark.parametrize("headers", [[], [("type", None)], [("type", b"Paid"), ("version", b"1")]])
def test_an_invalid_record_counts_as_known(headers: list[tuple[str, bytes]]) -> None:
    assert DECODER.is_known(FakeRecord("payments", 0, 0, 0, b"anna", b"", headers))


def test_a_new_field_is_ignored() -> None:
    value = encode(paid()).value.replace(b"{", b'{"colour":"red",', 1)

    assert DECODER.decode(Paid, record(paid(), value=value)) == paid()


def test_an_error_names_the_field_and_not_its_content() -> None:
    value = encode(paid()).value.replace(b'"micros":5', b'"micros":"swordfish"')

    with pytest.raises(InvalidMessage) as raised:
        DECODER.decode(Paid, record(paid(), value=value))

    assert str(raised.value) == "not a Paid: micros: int_parsing"
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("value", [b"", b"null", b"[]", b"\xff"])
def test_a_value_that_is_no_message_is_invalid(value: bytes) -> None:
    with pytest.raises(InvalidMessage, match="not a Paid"):
        DECODER.decode(Paid, record(paid(), value=value))


def test_a_record_with_another_key_than_its_message_is_invalid() -> None:
    with pytest.raises(InvalidMessage, match="the order of the key would not be kept"):
        DECODER.decode(Paid, record(paid(), key=b"berta"))
