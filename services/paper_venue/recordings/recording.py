"""What did a venue serve, and when? A recording is a text file of JSON lines, made by ``slipstream
venue record``.

The first line names the format: ``{"format": "slipstream-venue-recording", "version": 1, "at":
<ms>}``. Every other line is ``{"at": <ms>, "source": <source>, "payload": <what was served,
unchanged>}``, in the order of arrival; ``at`` is the recorder's clock in milliseconds since 1970.
The sources:

- ``gamma``: a market's row of Gamma
- ``clob``: a market's answer of ``/clob-markets``
- ``book``: a token's answer of ``/book`` or ``/books``
- ``market``: a frame of the CLOB market channel, an object or an array
- ``rtds``: a frame of RTDS activity that is about a recorded token
- ``recorder``: what the recorder has to say itself, such as a connection that was lost

The user channel is never recorded: all of it belongs to one account, and what is public of it
stands in the other two. So a recording holds no credentials. A last line that was not finished (the
disk was full, the recorder was killed) is left out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from shared.domain.errors import InvalidSettings

FORMAT = "slipstream-venue-recording"
VERSION = 1


class Source(StrEnum):
    GAMMA = "gamma"
    CLOB = "clob"
    BOOK = "book"
    MARKET = "market"
    RTDS = "rtds"
    RECORDER = "recorder"


class RecordingError(InvalidSettings):
    """This cannot be recorded or played; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that was served. ``at`` in ms since 1970."""

    at: int
    source: Source
    payload: Any


def header_line(at: int) -> bytes:
    return orjson.dumps({"format": FORMAT, "version": VERSION, "at": at}) + b"\n"


def entry_line(entry: Entry) -> bytes:
    return orjson.dumps({"at": entry.at, "source": entry.source, "payload": entry.payload}) + b"\n"


def parse_recording(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Raises: RecordingError with the line's number, for any line but a torn last one."""
    numbered = enumerate(lines, 1)
    _, header = next(numbered, (1, b""))
    _check_header(header)
    for number, line in numbered:
        if not line.endswith(b"\n"):
            return
        yield _parse_entry(number, line)


def read_recording(path: Path) -> list[Entry]:
    """Raises: RecordingError."""
    try:
        with path.open("rb") as lines:
            return list(parse_recording(lines))
    except OSError as error:
        raise RecordingError(f"the recording {path} cannot be read: {error.strerror}") from error


def _check_header(line: bytes) -> None:
    try:
        header = orjson.loads(line)
    except orjson.JSONDecodeError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise RecordingError(
            f'this is no recording: its first line must be {{"format": "{FORMAT}", ...}}'
        )
    if header.get("version") != VERSION:
        raise RecordingError(
            f"the recording has version {header.get('version')!r}, this release reads version {VERSION}"
        )


def _parse_entry(number: int, line: bytes) -> Entry:
    try:
        told = orjson.loads(line)
        return Entry(at=int(told["at"]), source=Source(told["source"]), payload=told["payload"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise RecordingError(
            f"line {number} of the recording is none that `slipstream venue record` writes: {error}"
        ) from error
