"""Messages as records, and back."""

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
    who: str
    micros: int

    def key(self) -> bytes:
        return self.who.encode()


class Refunded(Paid):
    version: int = 3


def paid(*, who: str = "anna", micros: int = 5) -> Paid:
    return Paid(
        message_id="payment-1", occurred_at=datetime(2026, 1, 1, tzinfo=UTC), who=who, micros=micros
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


@given(who=st.text(), micros=st.integers())
def test_what_is_encoded_is_decoded(who: str, micros: int) -> None:
    message = paid(who=who, micros=micros)

    assert DECODER.decode(Paid, record(message)) == message


def test_a_record_says_what_it_is() -> None:
    outgoing = encode(paid(), traceparent="00-aa-bb-01")

    assert (outgoing.topic, outgoing.key) == ("payments", b"anna")
    assert outgoing.headers == [
        ("type", b"Paid"),
        ("version", b"1"),
        ("message_id", b"payment-1"),
        ("traceparent", b"00-aa-bb-01"),
    ]


def test_without_a_trace_there_is_no_header_for_one() -> None:
    assert "traceparent" not in dict(encode(paid()).headers)


def test_the_type_is_taken_from_the_header() -> None:
    assert DECODER.resolve_type({"type": b"Refunded", "version": b"2"}) is Refunded


@pytest.mark.parametrize(
    "headers",
    [{}, {"type": b"", "version": b"1"}, {"type": b"Paid"}, {"type": b"Paid", "version": b"new"}],
)
def test_a_record_that_does_not_say_what_it_is_is_invalid(headers: dict[str, bytes]) -> None:
    with pytest.raises(InvalidMessage):
        DECODER.resolve_type(headers)


@pytest.mark.parametrize(
    "headers", [{"type": b"Stolen", "version": b"1"}, {"type": b"Paid", "version": b"2"}]
)
def test_a_record_of_a_newer_release_is_not_invalid_but_unknown(headers: dict[str, bytes]) -> None:
    with pytest.raises(UnknownVersion):
        DECODER.resolve_type(headers)
    assert not DECODER.is_known(
        FakeRecord("payments", 0, 0, 0, b"anna", b"", list(headers.items()))
    )


@pytest.mark.parametrize("headers", [[], [("type", None)], [("type", b"Paid"), ("version", b"1")]])
def test_what_is_invalid_is_known_to_be_so(headers: list[tuple[str, bytes]]) -> None:
    assert DECODER.is_known(FakeRecord("payments", 0, 0, 0, b"anna", b"", headers))


def test_a_new_field_is_tolerated() -> None:
    value = encode(paid()).value.replace(b"{", b'{"colour":"red",', 1)

    assert DECODER.decode(Paid, record(paid(), value=value)) == paid()


def test_a_complaint_names_the_field_and_never_its_content() -> None:
    value = encode(paid()).value.replace(b'"micros":5', b'"micros":"swordfish"')

    with pytest.raises(InvalidMessage) as raised:
        DECODER.decode(Paid, record(paid(), value=value))

    assert str(raised.value) == "not a Paid: micros: int_parsing"
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("value", [b"", b"null", b"[]", b"\xff"])
def test_what_is_no_message_at_all_is_invalid(value: bytes) -> None:
    with pytest.raises(InvalidMessage, match="not a Paid"):
        DECODER.decode(Paid, record(paid(), value=value))


def test_a_key_that_is_not_the_messages_own_is_invalid() -> None:
    with pytest.raises(InvalidMessage, match="its order would not be kept"):
        DECODER.decode(Paid, record(paid(), key=b"berta"))
