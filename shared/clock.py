"""The clock that app.py passes to the parts of a service; no other code reads the time."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the only place that reads it
