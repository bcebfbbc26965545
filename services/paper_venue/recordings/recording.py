"""The file format of recordings: one JSON object per line, written by ``slipstream venue record``.

The first line names the format: ``{"format": "slipstream-venue-recording", "version": 1, "at":
<ms>}``. Every other line is ``{"at": <ms>, "source": <source>, "payload": <what was served,
unchanged>}``, in the order of arrival; ``at`` is the recorder's clock in milliseconds since 1970.
The sources:

- ``gamma``: a market's row of Gamma
- ``clob``: a market's answer of ``/clob-markets``
- ``book``: a token's answer of ``/book`` or ``/books``
- ``market``: a frame of the CLOB market channel, an object or an array
- ``rtds``: a frame of RTDS activity that is about a recorded token
- ``recorder``: a remark of the recorder itself, such as a connection that was lost

The user channel is never recorded: all of it belongs to one account, and its public part is in
``market`` and ``rtds``. So a recording holds no credentials. An incomplete last line (the disk was
full, the recorder was killed) is left out when the file is read.
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
    """Something cannot be recorded or played; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One frame or answer that was served. ``at`` in ms since 1970."""

    at: int
    source: Source
    payload: Any


def build_header_line(at: int) -> bytes:
    return orjson.dumps({"format": FORMAT, "version": VERSION, "at": at}) + b"\n"


def build_entry_line(entry: Entry) -> bytes:
    return orjson.dumps({"at": entry.at, "source": entry.source, "payload": entry.payload}) + b"\n"


def parse_recording(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Parse a recording. Raises: RecordingError with the line's number, for any bad line but an
    incomplete last one.
    """
    numbered = enumerate(lines, 1)
    _, header = next(numbered, (1, b""))
    _check_header(header)
    for number, line in numbered:
        if not line.endswith(b"\n"):
            return
        yield _parse_entry(number, line)


def read_recording(path: Path) -> list[Entry]:
    """Read a whole recording. Raises: RecordingError."""
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
            f'this is not a recording: its first line must be {{"format": "{FORMAT}", ...}}'
        )
    if header.get("version") != VERSION:
        raise RecordingError(
            f"the recording has version {header.get('version')!r},"
            f" this release reads version {VERSION}"
        )


def _parse_entry(number: int, line: bytes) -> Entry:
    try:
        entry = orjson.loads(line)
        return Entry(at=int(entry["at"]), source=Source(entry["source"]), payload=entry["payload"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise RecordingError(
            f"line {number} is not one that `slipstream venue record` writes: {error}"
        ) from error
