"""How far one leader's trades were read from the Data API, and what to ask for next.

The cursor is the time of the newest trade that was read: a Data API that stands still, or that is
not asked for a while, leaves no gap. It is read from the cursor less ``lookback``, because rows may
appear late and out of order, but never from before ``max_lookback``: by then no entry and no exit
is copied any more.

The API returns the newest trades first. Where they are more than it is asked for at once, the older
ones are asked for next, up to where those before ended: the newest are the ones that can still be
copied. The cursor stays until all of them were read, so that a restart skips nothing.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.messages.leader_fills import LeaderFillSeen

logger = logging.getLogger(__name__)

AHEAD = timedelta(minutes=1)
"""How far a block's time may be ahead of this machine's clock."""
SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The time of the trades to ask for, both ends included."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an answer is taken for."""

    window: Window
    fills: tuple[LeaderFillSeen, ...]
    """Those that are complete: to be published, where they are not yet."""
    rest: Window | None
    """What is to be asked for next; None: nothing of the window is missing."""


class LeaderReading:
    """The position of one leader. ``cursor``: the stored one."""

    def __init__(self, cursor: datetime, *, lookback: timedelta, max_lookback: timedelta) -> None:
        self.cursor = cursor
        self._lookback, self._max_lookback = lookback, max_lookback
        self._rest: Window | None = None
        """What is left of a time of which only the newest trades were read."""
        self._newest: datetime | None = None
        """The newest trade of that time."""
        self._newest_first = False
        """Whether the rest waits until what is newer was asked for."""
        self._published: dict[str, datetime] = {}
        """When each published fill was made, by its message id: rows come in every reading."""

    def next_window(self, now: datetime) -> Window:
        """Return what to ask for."""
        earliest = now - self._max_lookback
        if self._rest is not None and self._rest.until < earliest:
            self._end_rest()
        if self._rest is not None and not self._newest_first:
            return self._rest
        known = self.cursor if self._rest is None else self._newest or self.cursor
        return Window(since=max(known - self._lookback, earliest), until=now + AHEAD)

    def note_failure(self) -> None:
        """Ask for the newest trades and for the rest in turn, after a request that failed: where
        the rest fails each time, the newest are read all the same.
        """
        self._newest_first = self._rest is not None and not self._newest_first

    def take(self, window: Window, fills: Sequence[LeaderFillSeen], *, is_complete: bool) -> Answer:
        """Return what is to be done with the fills of an answer.

        The oldest second of an incomplete one is left out: it is asked for again, and then its
        trades are whole.
        """
        if is_complete:
            return Answer(window=window, fills=tuple(fills), rest=None)
        end = _find_end(window, fills)
        return Answer(
            window=window,
            fills=tuple(fill for fill in fills if fill.filled_at > end),
            rest=Window(since=window.since, until=end) if end >= window.since else None,
        )

    def is_published(self, fill: LeaderFillSeen) -> bool:
        return fill.message_id in self._published

    def note_published(self, fill: LeaderFillSeen) -> None:
        self._published[fill.message_id] = fill.filled_at

    def advance(self, answer: Answer) -> None:
        """Move on, once the fills of the answer are published."""
        # Bounded, so that no wrong time of a row puts the cursor into the future.
        times = [min(fill.filled_at, answer.window.until) for fill in answer.fills]
        self._newest = max(filter(None, [self._newest, *times]), default=None)
        self._newest_first = False
        self._rest = self._find_rest(answer)
        if self._rest is not None:
            return
        self._end_rest()
        since = answer.window.since
        self._published = {each: at for each, at in self._published.items() if at >= since}

    def _find_rest(self, answer: Answer) -> Window | None:
        rest = self._rest
        if rest is None or answer.window == rest:
            return answer.rest
        # The newest trades, which were asked for before the rest; it is not read yet.
        return rest if answer.rest is None else Window(since=rest.since, until=answer.rest.until)

    def _end_rest(self) -> None:
        self.cursor = max(self.cursor, self._newest or self.cursor)
        self._rest, self._newest, self._newest_first = None, None, False

    def has_more(self) -> bool:
        """Whether older trades are still to be asked for."""
        return self._rest is not None


def _find_end(window: Window, fills: Sequence[LeaderFillSeen]) -> datetime:
    """Where the next window ends: in the second of the oldest fill. Where this one ended in it as
    well, more trades were made in that second than an answer has, and the others are left to the
    other feeds.
    """
    oldest = min((fill.filled_at for fill in fills), default=window.until)
    if oldest < window.until.replace(microsecond=0):
        return oldest
    logger.error(
        "data: more trades of leader %s were made at %s than an answer of the Data API has, "
        "and it is not asked for the others of that second",
        fills[0].leader if fills else "",
        oldest,
    )
    return oldest - SECOND
