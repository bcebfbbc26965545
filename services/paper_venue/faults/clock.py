"""The machine's clock, and the venue's, which a fault can skew."""

import time

from services.paper_venue.faults.catalogue import Fault, Faults


def machine_ms() -> int:
    """Epoch milliseconds by the machine's clock."""
    return time.time_ns() // 1_000_000


class VenueClock:
    """The machine's clock plus the skew of the fault ``clock-skew``."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def now_ms(self) -> int:
        skew = self._faults.active.get(Fault.CLOCK_SKEW)
        return machine_ms() + (int(skew.seconds * 1000) if skew else 0)
