"""A leader's trades are read from the Data API without a gap, however many there are, however late
they appear, and wherever the process is restarted.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.adapters.leader_reading import AHEAD, LeaderReading, Window
from shared.messages.leader_fills import LeaderFillSeen
from tests.builders import NOON, a_fill, seconds

LOOKBACK, MAX_LOOKBACK = timedelta(minutes=2), timedelta(hours=1)


def a_reading(cursor: datetime = NOON) -> LeaderReading:
    return LeaderReading(cursor, lookback=LOOKBACK, max_lookback=MAX_LOOKBACK)


def made_at(at: datetime, number: int = 0) -> LeaderFillSeen:
    return a_fill(message_id=f"{at}:{number}", filled_at=at)


def read(
    reading: LeaderReading, trades: Sequence[LeaderFillSeen], now: datetime, *, at_once: int = 1000
) -> list[LeaderFillSeen]:
    """What the feed publishes of one answer, which has the newest trades of the window."""
    window = reading.next_window(now)
    matching = sorted(
        (each for each in trades if window.since <= each.filled_at <= window.until),
        key=lambda each: each.filled_at,
    )
    answer = reading.take(window, matching[-at_once:], is_complete=len(matching) <= at_once)
    new = [fill for fill in answer.fills if not reading.is_published(fill)]
    for fill in new:
        reading.note_published(fill)
    reading.advance(answer)
    return new


def test_a_leader_is_read_from_the_look_back_before_his_cursor_on() -> None:
    assert a_reading(NOON).next_window(NOON) == Window(since=NOON - LOOKBACK, until=NOON + AHEAD)


def test_a_leader_is_read_from_his_newest_trade_less_the_look_back() -> None:
    reading = a_reading(NOON)
    read(reading, [made_at(NOON + seconds(30))], NOON + seconds(60))

    assert reading.cursor == NOON + seconds(30)
    assert reading.next_window(NOON + timedelta(minutes=30)).since == (
        NOON + seconds(30) - LOOKBACK
    )


def test_an_api_that_shows_nothing_does_not_move_the_cursor() -> None:
    """It may stand still: what it shows later is read then."""
    reading = a_reading(NOON)
    for minutes in range(1, 30):
        read(reading, [], NOON + timedelta(minutes=minutes))

    late = made_at(NOON + seconds(1))
    assert read(reading, [late], NOON + timedelta(minutes=30)) == [late]


def test_nothing_is_read_from_before_the_longest_look_back() -> None:
    now = NOON + timedelta(days=30)

    assert a_reading(NOON).next_window(now).since == now - MAX_LOOKBACK


def test_a_row_of_the_future_does_not_move_the_cursor_there() -> None:
    reading = a_reading(NOON)
    window = reading.next_window(NOON)
    wrong = made_at(NOON + timedelta(days=365))

    reading.advance(reading.take(window, [wrong], is_complete=True))

    assert reading.cursor == window.until


def test_each_trade_is_published_once_while_it_is_read_again() -> None:
    reading, trade = a_reading(NOON), made_at(NOON + seconds(1))

    published = [
        each for count in range(20) for each in read(reading, [trade], NOON + seconds(10 * count))
    ]

    assert published == [trade]


def test_the_seconds_trades_that_an_answer_cuts_are_read_whole_next() -> None:
    """All fills of a trade are of one second, and its prices are those of all of them."""
    trades = [made_at(NOON + seconds(second), number) for second in range(3) for number in range(2)]
    reading = a_reading(NOON)

    first = read(reading, trades, NOON + seconds(10), at_once=3)
    assert first == trades[4:]
    assert reading.has_more()
    assert reading.cursor == NOON

    assert read(reading, trades, NOON + seconds(10), at_once=4) == trades[:4]
    assert not reading.has_more()
    assert reading.cursor == NOON + seconds(2)


def test_more_trades_in_a_second_than_an_answer_has_stop_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    crowded = [made_at(NOON + seconds(5), number) for number in range(10)]
    older = made_at(NOON)
    reading = a_reading(NOON)

    for _ in range(3):
        read(reading, [older, *crowded], NOON + seconds(10), at_once=3)

    assert not reading.has_more()
    assert reading.is_published(older)
    assert "than an answer of the Data API has" in caplog.text


def test_new_trades_are_read_while_the_rest_of_the_older_ones_fails() -> None:
    trades = [made_at(NOON + seconds(second)) for second in range(10)]
    reading = a_reading(NOON)
    read(reading, trades, NOON + seconds(10), at_once=3)
    rest = reading.next_window(NOON + seconds(10))

    later = NOON + timedelta(minutes=10)
    new = made_at(later)
    reading.note_failure()
    assert new in read(reading, [*trades, new], later)

    assert reading.next_window(later) == rest
    reading.note_failure()
    assert reading.next_window(later).since == later - LOOKBACK
    reading.note_failure()
    assert reading.next_window(later) == rest


def test_a_rest_that_is_too_old_to_be_copied_is_dropped() -> None:
    trades = [made_at(NOON + seconds(second)) for second in range(10)]
    reading = a_reading(NOON)
    read(reading, trades, NOON + seconds(10), at_once=3)
    later = NOON + MAX_LOOKBACK + seconds(60)

    assert reading.next_window(later).until == later + AHEAD
    assert not reading.has_more()
    assert reading.cursor == NOON + seconds(9)


@given(
    times=st.lists(st.integers(0, 3000), max_size=60, unique=True),
    steps=st.lists(
        st.tuples(
            st.integers(1, 600),
            st.integers(2, 10),
            st.booleans(),
            st.booleans(),
            st.integers(0, 60),
        ),
        max_size=40,
    ),
)
def test_whatever_the_api_shows_when_and_wherever_the_feed_restarts_all_is_published(
    times: list[int], steps: list[tuple[int, int, bool, bool, int]]
) -> None:
    """``steps``: seconds until the next reading, how many trades an answer has, whether the process
    is restarted before it, whether it fails, and by how many seconds the API is late.
    """
    trades = [made_at(NOON + seconds(at)) for at in times]
    reading, published, now = a_reading(NOON), set[str](), NOON
    for pause, at_once, restarts, fails, late in steps:
        now = min(now + seconds(pause), NOON + timedelta(minutes=50))
        if restarts:
            reading = a_reading(reading.cursor)
        if fails:
            reading.note_failure()
            continue
        shown = [each for each in trades if each.filled_at <= now - seconds(late)]
        published |= {each.message_id for each in read(reading, shown, now, at_once=at_once)}
    end = NOON + timedelta(minutes=51)
    while True:
        published |= {each.message_id for each in read(reading, trades, end)}
        if not reading.has_more():
            break
    published |= {each.message_id for each in read(reading, trades, end)}

    assert published == {each.message_id for each in trades}
