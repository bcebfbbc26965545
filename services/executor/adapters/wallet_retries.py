"""When a wallet that the venue did not answer for is asked for again."""

from collections.abc import Callable
from datetime import datetime, timedelta

FIRST_PAUSE = timedelta(seconds=1)
MAX_PAUSE = timedelta(seconds=30)


class WalletRetries:
    """Each wallet has a pause of its own, which doubles with every failure: one that the venue
    refuses costs no requests of the others.
    """

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._pauses: dict[str, timedelta] = {}
        self._due_at: dict[str, datetime] = {}

    def is_due(self, proxy: str) -> bool:
        """Whether the wallet may be asked for now."""
        due_at = self._due_at.get(proxy)
        return due_at is None or self._now() >= due_at

    def fail(self, proxy: str) -> timedelta:
        """Return how long the wallet is not asked for."""
        known = self._pauses.get(proxy)
        pause = FIRST_PAUSE if known is None else min(2 * known, MAX_PAUSE)
        self._pauses[proxy], self._due_at[proxy] = pause, self._now() + pause
        return pause

    def succeed(self, proxy: str) -> None:
        self._pauses.pop(proxy, None)
        self._due_at.pop(proxy, None)
