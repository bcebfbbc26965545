"""What time is it, by the machine and by the venue?"""

import time

from services.paper_venue.faults.catalogue import Fault, Faults


def machine_ms() -> int:
    return time.time_ns() // 1_000_000


class VenueClock:
    """The venue's time: the machine's, unless its clock is skewed."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def now_ms(self) -> int:
        skew = self._faults.active.get(Fault.CLOCK_SKEW)
        return machine_ms() + (int(skew.seconds * 1000) if skew else 0)
