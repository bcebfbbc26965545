"""A recording is read as it was written; an incomplete last line is left out, and any other damage
is reported with its line.
"""

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.paper_venue.recordings.recorder import parse_tokens
from services.paper_venue.recordings.recording import (
    Entry,
    RecordingError,
    Source,
    build_entry_line,
    build_header_line,
    parse_recording,
    read_recording,
)

PAYLOADS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
ENTRIES = st.lists(
    st.builds(Entry, at=st.integers(0, 2**53), source=st.sampled_from(Source), payload=PAYLOADS)
)
ENTRY = Entry(at=2, source=Source.RTDS, payload={"topic": "activity"})


@given(entries=ENTRIES)
def test_what_was_written_is_read(entries: list[Entry]) -> None:
    assert list(parse_recording([build_header_line(1), *map(build_entry_line, entries)])) == entries


@given(entries=ENTRIES.filter(bool), cut=st.integers(1, 20))
def test_an_incomplete_last_line_is_left_out(entries: list[Entry], cut: int) -> None:
    *whole, last = map(build_entry_line, entries)

    assert list(parse_recording([build_header_line(1), *whole, last[:-cut]])) == entries[:-1]


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (b"", "not a recording"),
        (b"[1, 2]\n", "not a recording"),
        (b'{"format": "other"}\n', "not a recording"),
        (
            build_header_line(1).replace(b'"version":1', b'"version":2'),
            "version 2, this release reads version 1",
        ),
    ],
)
def test_a_file_that_is_not_a_recording_of_this_version_is_refused(
    first: bytes, message: str
) -> None:
    with pytest.raises(RecordingError, match=message):
        list(parse_recording([first]))


@pytest.mark.parametrize(
    "damaged",
    [
        b"{\n",
        b'{"at": 1, "source": "nobody", "payload": 1}\n',
        b'{"source": "rtds", "payload": 1}\n',
        b"7\n",
    ],
)
def test_a_damaged_line_is_reported_with_its_number(damaged: bytes) -> None:
    with pytest.raises(RecordingError, match="line 3"):
        list(
            parse_recording(
                [build_header_line(1), build_entry_line(ENTRY), damaged, build_entry_line(ENTRY)]
            )
        )


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be read: No such file"):
        read_recording(tmp_path / "nothing")


def test_a_rows_tokens_are_found_in_markets_of_both_versions() -> None:
    assert parse_tokens({"clobTokenIds": '["1", "2"]'}) == ["1", "2"]
    assert parse_tokens({"positionIds": orjson.dumps(["3", "4"]).decode()}) == ["3", "4"]
    assert parse_tokens({}) == []
