"""Delays between the attempts at something that failed."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """The delay doubles from ``first_s`` up to ``max_s`` seconds.

    A random part of it, at most the fraction ``jitter``, is left off, so that many waiters spread.
    """

    first_s: float = 0.05
    max_s: float = 10.0
    jitter: float = 0.5

    def delay(self, attempt: int, *, chance: float | None = None) -> float:
        """Return the seconds to wait after ``attempt`` (1, 2, …) has failed.

        ``chance``: from 0 to 1, drawn at random where it is not given.
        """
        doublings = min(attempt - 1, 30)
        whole = min(self.max_s, self.first_s * 2.0**doublings)
        # not for security: it only spreads the load
        drawn = random.random() if chance is None else chance  # noqa: S311
        return whole * (1 - self.jitter * drawn)
