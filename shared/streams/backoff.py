"""How long to wait before the next attempt?"""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Doubles from ``first_s`` to at most ``longest_s`` seconds, of which a random part is left
    off, so that many waiters spread.
    """

    first_s: float = 0.05
    longest_s: float = 10.0
    jitter: float = 0.5

    def delay(self, attempt: int, *, chance: float | None = None) -> float:
        """Seconds to wait after the failure of ``attempt`` (1, 2, …). ``chance``: 0 to 1, drawn if
        not given.
        """
        doublings = min(attempt - 1, 30)
        whole = min(self.longest_s, self.first_s * 2.0**doublings)
        # it spreads load, it protects nothing
        drawn = random.random() if chance is None else chance  # noqa: S311
        return whole * (1 - self.jitter * drawn)
