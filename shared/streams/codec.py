"""How does a message become a Kafka record, and a record a message again?

The value is the message as JSON; the headers say what it is (``type``, ``version``, ``message_id``)
and which trace it belongs to (``traceparent``, at most one). Built strictly, decoded tolerantly: a
field that a newer release added is no reason to stop.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from shared.domain.errors import InvalidMessage, UnknownVersion
from shared.messages.base import Message
from shared.observe import tracing

Headers = Sequence[tuple[str, bytes | None]]
"""Kafka allows a header without a value; none of ours is."""


class Record(Protocol):
    """What we use of ``aiokafka.ConsumerRecord``."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970."""
        ...

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message ready for the producer."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def with_values(headers: Headers) -> list[tuple[str, bytes]]:
    """A header without a value says as little as an empty one: neither is a type, a version or a
    trace.
    """
    return [(name, value or b"") for name, value in headers]


def encode(message: Message, *, traceparent: str | None = None) -> Outgoing:
    headers = [
        ("type", type(message).__name__.encode()),
        ("version", b"%d" % message.version),
        ("message_id", message.message_id.encode()),
    ]
    if traceparent is not None:
        headers.append((tracing.TRACEPARENT, traceparent.encode()))
    return Outgoing(
        topic=message.topic, key=message.key(), value=_to_json(message), headers=headers
    )


class Decoder:
    """Decodes the message types of one service's routes."""

    def __init__(self, types: Iterable[type[Message]]) -> None:
        self._type_by_name = {kind.__name__.encode(): kind for kind in types}
        self._version_by_type = {
            kind: kind.model_fields["version"].default for kind in self._type_by_name.values()
        }

    def recognise(self, headers: Mapping[str, bytes]) -> type[Message]:
        """The record's type. Raises: InvalidMessage without a type; UnknownVersion for a type or
        version that we don't know.
        """
        if not (name := headers.get("type")):
            raise InvalidMessage("the record has no header 'type'")
        kind = self._type_by_name.get(name)
        if kind is None:
            raise UnknownVersion(
                f"this release knows no messages of type {_printable(name)}: it waits for one that does"
            )
        if (version := _version(headers)) > (known := self._version_by_type[kind]):
            raise UnknownVersion(
                f"this release knows no version {version} of {kind.__name__}, only {known}: it waits for one that does"
            )
        return kind

    def knows(self, record: Record) -> bool:
        """Whether this release can tell what the record is, or at least that it is none."""
        try:
            self.recognise(dict(with_values(record.headers)))
        except UnknownVersion:
            return False
        except InvalidMessage:
            return True
        return True

    def decode(self, kind: type[Message], record: Record) -> Message:
        """Raises: InvalidMessage, naming the fields that are wrong but none of their contents."""
        try:
            message = kind.model_validate_json(record.value or b"", extra="ignore")
        except ValidationError as error:
            raise InvalidMessage(f"not a {kind.__name__}: {_complaints(error)}") from None
        if record.key != message.key():
            raise InvalidMessage(
                f"the record's key is not that of its {kind.__name__}: its order would not be kept"
            )
        return message


def _to_json(message: Message) -> bytes:
    # model_dump_json makes a str first, which would have to be encoded again.
    to_json: Callable[[Message], bytes] = message.__pydantic_serializer__.to_json
    return to_json(message)


def _version(headers: Mapping[str, bytes]) -> int:
    try:
        return int(headers["version"])
    except (KeyError, ValueError):
        raise InvalidMessage("the record has no readable header 'version'") from None


def _complaints(error: ValidationError) -> str:
    def told(complaint: Any) -> str:
        return f"{'.'.join(map(str, complaint['loc'])) or 'value'}: {complaint['type']}"

    return "; ".join(
        told(each)
        for each in error.errors(include_url=False, include_context=False, include_input=False)[:5]
    )


def _printable(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace")[:80])
