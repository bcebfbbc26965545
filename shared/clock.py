"""The clock that a composition root hands to its parts; nothing below reads it by itself."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the one place
