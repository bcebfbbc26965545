"""How often and how long each fault strikes in the demo, so that it matters and the demo ends."""

from collections.abc import Mapping
from decimal import Decimal

from services.paper_venue.faults.catalogue import Fault, FaultOptions

_SOMETIMES = Decimal("0.2")
_STRIKES: Mapping[Fault, FaultOptions] = {
    Fault.LATE_REPLY: FaultOptions(share=_SOMETIMES, seconds=Decimal(3)),
    Fault.RESTART: FaultOptions(seconds=Decimal(5)),
    Fault.POST_ONLY: FaultOptions(share=_SOMETIMES, seconds=Decimal(1)),
    Fault.CANCEL_ONLY: FaultOptions(share=_SOMETIMES),
    Fault.DISABLED: FaultOptions(share=_SOMETIMES),
    Fault.RATE_LIMIT_ADDRESS: FaultOptions(seconds=Decimal(1)),
    Fault.RATE_LIMIT_SIGNER: FaultOptions(seconds=Decimal(1)),
    Fault.CLOCK_SKEW: FaultOptions(seconds=Decimal(5)),
    Fault.SILENT_SOCKET: FaultOptions(),
    Fault.ROWS_LATE: FaultOptions(share=_SOMETIMES, seconds=Decimal(3)),
    Fault.EMPTY_SIZE_MATCHED: FaultOptions(),
    Fault.STALE_BALANCE: FaultOptions(),
    Fault.KEY_REVOKED: FaultOptions(),
    Fault.STALE_READS: FaultOptions(share=Decimal("0.5"), seconds=Decimal(2)),
}
"""All other faults strike a fifth of the possible cases."""

SETTLE_WITHIN_S = 60
SETTLE_WITH_FAULT_WITHIN_S = 180
"""An entry whose order is found nowhere is given up about two minutes after the leader's trade: its
time to live and the venue's possible delay."""


def settle_within_s(fault: Fault | None) -> int:
    """How long after the last leader trade a copy may take to be final. One that takes longer is
    reported as unresolved.
    """
    return SETTLE_WITHIN_S if fault is None else SETTLE_WITH_FAULT_WITHIN_S


def strike_for(fault: Fault) -> FaultOptions:
    """The strike while the leaders trade. Afterwards the fault is off, so that open copies can be
    resolved.
    """
    return _STRIKES.get(fault, FaultOptions(share=_SOMETIMES))
