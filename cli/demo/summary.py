"""The demo's summary: as values, as JSON and as lines of text."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from cli.demo.checks import Check
from cli.demo.figures import (
    END_TO_END,
    STAGES,
    Latency,
    OpenCopy,
    OrderRecord,
    Slippage,
    compute_latency,
    compute_slippage,
)

MS_PLACES = Decimal("0.1")
ENDED_UNFILLED = ("killed", "rejected", "failed", "withdrawn")
LONG_HEX = re.compile(r"0x[0-9a-fA-F]{8,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultStrikes:
    """The fault of this run and how often it struck; a skewed clock's strikes are not counted."""

    fault: str
    share: Decimal
    seconds: Decimal
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The results of one run. Times in seconds, as Decimal."""

    leader_trades: int
    followers: int
    copies: Mapping[str, int]
    """By state."""
    refusals: Mapping[str, int]
    """By reason."""
    exits: Mapping[str, int]
    """Of follows that held shares, by state."""
    further_attempts: int
    """Copies that attempt an exit again."""
    endings: Mapping[str, int]
    """Orders that ended without a fill, by state and reason."""
    slippage: Slippage | None
    latencies: Mapping[tuple[str, str], Latency | None]
    checks: tuple[Check, ...]
    seconds: Mapping[str, Decimal]
    open_copies: tuple[OpenCopy, ...] = ()
    """The unresolved copies."""
    fault: FaultStrikes | None = None

    @property
    def held(self) -> bool:
        return bool(self.checks) and all(check.held for check in self.checks)

    @property
    def is_accounted_for(self) -> bool:
        """Whether every check held; with a fault, except the one about unresolved copies."""
        checks = (
            self.checks
            if self.fault is None
            else [check for check in self.checks if not check.is_about_open_copies]
        )
        return bool(checks) and all(check.held for check in checks)


def summarise(
    orders: tuple[OrderRecord, ...],
    checks: tuple[Check, ...],
    *,
    leader_trades: int,
    followers: int,
    copies: Counter[str],
    refusals: Counter[str],
    exits: Mapping[str, int],
    further_attempts: int,
    seconds: Mapping[str, Decimal],
    open_copies: tuple[OpenCopy, ...] = (),
    fault: FaultStrikes | None = None,
) -> Summary:
    return Summary(
        leader_trades=leader_trades,
        followers=followers,
        copies=dict(copies.most_common()),
        refusals=dict(refusals.most_common()),
        exits=exits,
        further_attempts=further_attempts,
        endings=dict(
            Counter(
                _describe_ending(order) for order in orders if order.state in ENDED_UNFILLED
            ).most_common()
        ),
        slippage=compute_slippage(orders),
        latencies={stage: compute_latency(orders, *stage) for stage in (*STAGES, *END_TO_END)},
        checks=checks,
        seconds=seconds,
        open_copies=open_copies,
        fault=fault,
    )


def as_json(summary: Summary) -> dict[str, Any]:
    """The summary for JSON: decimals as text, counts as integers, latencies in milliseconds."""
    return {
        "held": summary.held,
        "fault": None if summary.fault is None else _fault_json(summary.fault),
        "leader_trades_seen": summary.leader_trades,
        "followers": summary.followers,
        "copies": dict(summary.copies),
        "refusals": dict(summary.refusals),
        "exits": dict(summary.exits),
        "further_attempts_of_exits": summary.further_attempts,
        "ended_without_fill": dict(summary.endings),
        "unresolved": [asdict(copy) for copy in summary.open_copies],
        "fill_against_leader_price_bps": None
        if summary.slippage is None
        else {
            "count": summary.slippage.count,
            "p50": str(summary.slippage.p50),
            "p95": str(summary.slippage.p95),
        },
        "latency_ms": {
            f"{start}_to_{end}": _latency_json(found)
            for (start, end), found in summary.latencies.items()
        },
        "checks": [
            {
                "name": check.name,
                "held": check.held,
                "left": check.left,
                "right": check.right,
                "wrong": list(check.wrong),
            }
            for check in summary.checks
        ],
        "seconds": {name: str(value) for name, value in summary.seconds.items()},
    }


def format_lines(summary: Summary) -> Iterator[str]:
    """The summary as text."""
    if summary.fault is not None:
        fault = summary.fault
        yield (
            f"Fault: {fault.fault}, which struck {fault.times} times while the leaders traded "
            f"(share {fault.share}, {fault.seconds} s)"
        )
    yield (
        f"Leader trades seen: {summary.leader_trades}, copied {sum(summary.copies.values())} times "
        f"by {summary.followers} followers; {summary.further_attempts} of the copies attempt an "
        "exit again"
    )
    yield from _counts("  ", summary.copies)
    yield from _titled_counts("Refused, by reason", summary.refusals)
    yield from _titled_counts("Exits of follows that held shares", summary.exits)
    if summary.endings:
        yield "Ended without a fill, by reason"
        yield from (f"  {count:>5}  {ending}" for ending, count in summary.endings.items())
    yield from _unresolved(summary.open_copies)
    if summary.slippage is not None:
        slippage = summary.slippage
        yield (
            "Fill price against the leader's, bps (positive is worse): "
            f"p50 {slippage.p50}, p95 {slippage.p95} of {slippage.count} fills"
        )
    yield f"Latency, ms             {'p50':>10}{'p95':>10}{'p99':>10}{'copies':>10}"
    for (start, end), latency in summary.latencies.items():
        if (start, end) == END_TO_END[0]:
            yield "End to end, ms"
        yield f"  {start + ' → ' + end:22}{_latency_line(latency)}"
    yield "Checks"
    for check in summary.checks:
        yield f"  {'ok    ' if check.held else 'FAILED'} {check.name}: {check.left}; {check.right}"
        yield from (f"           {wrong}" for wrong in check.wrong)
    yield "Took, s: " + ", ".join(f"{name} {value}" for name, value in summary.seconds.items())


def to_milliseconds(microseconds: int) -> Decimal:
    return Decimal(microseconds).scaleb(-3).quantize(MS_PLACES)


def _titled_counts(title: str, counts: Mapping[str, int]) -> Iterator[str]:
    """Nothing without counts."""
    if counts:
        yield title
        yield from _counts("  ", counts)


def _counts(indent: str, counts: Mapping[str, int]) -> Iterator[str]:
    return (f"{indent}{name:22}{count:>10}" for name, count in counts.items())


def _unresolved(copies: tuple[OpenCopy, ...]) -> Iterator[str]:
    if copies:
        yield f"Unresolved: {len(copies)} copies"
    for copy in copies:
        yield f"  follower {copy.proxy}, order {copy.order_hash or 'none'}: {copy.state}"
        yield f"    {copy.why} (intent {copy.intent_id})"


def _describe_ending(order: OrderRecord) -> str:
    """State and reason without ids, so that equal endings are counted together."""
    reason = LONG_HEX.sub("0x…", order.reason)
    return f"{order.state}: {reason}" if reason else order.state


def _fault_json(fault: FaultStrikes) -> dict[str, Any]:
    return {
        "name": fault.fault,
        "share": str(fault.share),
        "seconds": str(fault.seconds),
        "struck": fault.times,
    }


def _latency_json(found: Latency | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"count": found.count} | {
        name: str(to_milliseconds(getattr(found, name))) for name in ("p50", "p95", "p99")
    }


def _latency_line(found: Latency | None) -> str:
    if found is None:
        return f"{'none':>10}"
    return (
        "".join(f"{to_milliseconds(value):>10}" for value in (found.p50, found.p95, found.p99))
        + f"{found.count:>10}"
    )
