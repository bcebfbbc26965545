"""The options of `slipstream demo`."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `slipstream --help` imports nothing heavy
    from services.paper_venue.faults.catalogue import Fault

DEMO_FOLDER = Path(__file__).resolve().parents[2] / "var" / "demo"


class Until(StrEnum):
    """When the demo ends."""

    TRADED = "traded"
    """After the leaders' trades."""
    FOREVER = "forever"
    """When it is interrupted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    trades: int
    followers: int
    per_second: Decimal
    """Leader trades."""
    until: Until
    settle_within_s: int
    """Seconds after the last leader trade: a copy that is not final by then is unresolved."""
    fault: "Fault | None" = None
    """The fault that is on while the leaders trade."""
    folder: Path
    """Where the summary and the keys and addresses of this run are written."""

    @property
    def leader_trades(self) -> int:
        """How many trades the venue's leaders are to make."""
        return self.trades if self.until is Until.TRADED else 1_000_000_000
