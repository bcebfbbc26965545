"""Encodes messages as Kafka records and decodes records to messages.

The value is the message as JSON. The headers contain its ``type``, ``version`` and ``message_id``,
and at most one ``traceparent``: the trace that it belongs to. Messages are built strictly and
decoded tolerantly: a field that a newer release added is ignored.
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
    """The part of ``aiokafka.ConsumerRecord`` that is used here."""

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
    """Return the headers with an empty value where there is none.

    Neither is a type, a version or a trace.
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

    def resolve_type(self, headers: Mapping[str, bytes]) -> type[Message]:
        """Return the class of the record's message.

        Raises: InvalidMessage where the headers lack the type or the version; UnknownVersion where
        this release does not know it.
        """
        if not (name := headers.get("type")):
            raise InvalidMessage("the record has no header 'type'")
        kind = self._type_by_name.get(name)
        if kind is None:
            raise UnknownVersion(
                f"this release knows no messages of type {_printable(name)}: "
                "it waits for a release that does"
            )
        if (version := _version(headers)) > (known := self._version_by_type[kind]):
            raise UnknownVersion(
                f"this release knows no version {version} of {kind.__name__}, only {known}: "
                "it waits for a release that does"
            )
        return kind

    def is_known(self, record: Record) -> bool:
        """Whether this release knows the record's type and version, or that they are invalid."""
        try:
            self.resolve_type(dict(with_values(record.headers)))
        except UnknownVersion:
            return False
        except InvalidMessage:
            return True
        return True

    def decode(self, kind: type[Message], record: Record) -> Message:
        """Raises: InvalidMessage, with the names of the wrong fields and none of their contents."""
        try:
            message = kind.model_validate_json(record.value or b"", extra="ignore")
        except ValidationError as error:
            raise InvalidMessage(f"not a {kind.__name__}: {_describe_errors(error)}") from None
        if record.key != message.key():
            raise InvalidMessage(
                f"the record's key is not that of its {kind.__name__}: "
                "the order of the key would not be kept"
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


def _describe_errors(error: ValidationError) -> str:
    """The first five wrong fields, each with the kind of its error."""

    def describe(detail: Any) -> str:
        return f"{'.'.join(map(str, detail['loc'])) or 'value'}: {detail['type']}"

    details = error.errors(include_url=False, include_context=False, include_input=False)[:5]
    return "; ".join(describe(detail) for detail in details)


def _printable(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace")[:80])
