"""A key is tracked from its first heartbeat until its heartbeats stop."""

import pytest

from services.paper_venue.clob.heartbeats import SILENCE_TIMEOUT_MS, Heartbeats, WrongHeartbeat

NOW_MS = 1_790_000_000_000


def test_each_heartbeat_carries_the_id_of_the_last_reply() -> None:
    heartbeats = Heartbeats()

    first = heartbeats.record("key", "", now_ms=NOW_MS)
    second = heartbeats.record("key", first, now_ms=NOW_MS + 5_000)

    assert first
    assert second not in ("", first)


def test_a_wrong_id_is_answered_with_the_right_one() -> None:
    heartbeats = Heartbeats()
    expected = heartbeats.record("key", "", now_ms=NOW_MS)

    with pytest.raises(WrongHeartbeat, match="Invalid Heartbeat ID") as mismatch:
        heartbeats.record("key", "another", now_ms=NOW_MS)

    assert mismatch.value.expected == expected
    assert heartbeats.record("key", expected, now_ms=NOW_MS)


def test_a_silent_key_is_returned_once_and_then_tracked_no_longer() -> None:
    heartbeats = Heartbeats()
    heartbeats.record("silent", "", now_ms=NOW_MS)
    heartbeats.record("alive", heartbeats.record("alive", "", now_ms=NOW_MS), now_ms=NOW_MS + 5_000)

    assert heartbeats.remove_silent(now_ms=NOW_MS + SILENCE_TIMEOUT_MS - 1) == []
    assert heartbeats.remove_silent(now_ms=NOW_MS + SILENCE_TIMEOUT_MS) == ["silent"]
    assert heartbeats.remove_silent(now_ms=NOW_MS + SILENCE_TIMEOUT_MS) == []
    assert heartbeats.record("silent", "", now_ms=NOW_MS + SILENCE_TIMEOUT_MS)


def test_a_wrong_heartbeat_does_not_extend_the_timeout() -> None:
    heartbeats = Heartbeats()
    heartbeats.record("key", "", now_ms=NOW_MS)

    with pytest.raises(WrongHeartbeat):
        heartbeats.record("key", "stale", now_ms=NOW_MS + 9_000)

    assert heartbeats.remove_silent(now_ms=NOW_MS + SILENCE_TIMEOUT_MS) == ["key"]


def test_a_key_without_heartbeats_is_not_tracked() -> None:
    assert Heartbeats().remove_silent(now_ms=NOW_MS) == []
