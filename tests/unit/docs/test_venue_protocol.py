"""The table of error texts in docs/venue-protocol.md is the code's."""

import re

import pytest

from shared.polymarket.replies import (
    MEANING_BY_TEXT,
    Duplicated,
    Killed,
    Reason,
    Rejected,
    Reply,
    ReplyLost,
    RetryLater,
    parse_reply,
)
from tests.unit.docs.tables import table_after

ROWS = table_after("venue-protocol.md", "## Error texts")


def as_documented(reply: Reply) -> tuple[str, str, str]:
    """What the table says of such a reply, in its last three columns."""
    match reply:
        case Rejected(reason=reason):
            taken_as = "refused for good" if reason.is_conclusive else "refused, by the moment"
            return taken_as, f"`{reason}`", "yes" if reason.may_pass else "no"
        case Killed():
            return "killed", "", ""
        case Duplicated():
            return "arrived before", "", ""
        case RetryLater():
            return "not taken now", "", ""
        case ReplyLost():
            return "unknown", "", ""
        case _:
            raise AssertionError(f"no refusal: {reply}")


def statuses_in(cell: str) -> list[int]:
    return [500] if cell == "any" else [int(status) for status in cell.split(", ")]


def texts_in(cell: str) -> list[str]:
    """The texts of a row, with something in place of each ``…``; without one: a page."""
    return [text.replace("…", "7") for text in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1][:60])
def test_each_text_is_taken_as_documented(row: list[str]) -> None:
    statuses, text_cell, *documented = row
    texts = texts_in(text_cell)
    bodies: list[dict[str, str] | None] = [{"error": text} for text in texts] or [None]

    for status in statuses_in(statuses):
        for body in bodies:
            assert as_documented(parse_reply(status, body)) == tuple(documented)


def test_every_text_and_every_reason_is_documented() -> None:
    texts = [text.lower() for _, cell, *_ in ROWS for text in texts_in(cell)]
    missing = [
        part
        for part, _ in MEANING_BY_TEXT
        if not any(all(piece in text for piece in part.split("…")) for text in texts)
    ]

    assert missing == []
    assert {reason for *_, reason, _ in ROWS if reason} == {f"`{reason}`" for reason in Reason}
