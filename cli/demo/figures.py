"""Latency and slippage of copies, computed from recorded orders. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from shared.domain.money import Side
from shared.domain.prices import adverse_bps

MICROSECOND = timedelta(microseconds=1)
BPS_PLACES = Decimal("0.01")

MOMENTS = ("seen", "intended", "quoted", "approved", "signed", "posted", "answered", "confirmed")
STAGES = tuple(pairwise(MOMENTS))
"""From each moment to the next."""
END_TO_END = (("seen", "posted"), ("seen", "confirmed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """An order in executor's records. Amounts in micro-USDC and micro-shares."""

    intent_id: str
    order_hash: str
    proxy: str
    side: Side
    state: str
    reason: str
    leader_price: Decimal | None
    """None where no trade was copied."""
    shares: int
    usdc: int
    at: Mapping[str, datetime]
    """The time of each of ``MOMENTS`` that the order has reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCopy:
    """A copy that is not final in the services' records."""

    intent_id: str
    proxy: str
    token_id: str
    order_hash: str
    """Empty where it has no order yet."""
    state: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Nearest-rank percentiles in microseconds, of ``count`` copies."""

    count: int
    p50: int
    p95: int
    p99: int


def percentile(ordered: Sequence[int], hundredths: int) -> int:
    """The nearest-rank percentile of values in rising order, at least one: always one of them."""
    rank = -(-len(ordered) * hundredths // 100)
    return ordered[max(rank, 1) - 1]


def compute_latency(orders: Iterable[OrderRecord], start: str, end: str) -> Latency | None:
    """From one moment to another, of the orders that reached both; None where no order did."""
    spans = sorted(
        (order.at[end] - order.at[start]) // MICROSECOND
        for order in orders
        if start in order.at and end in order.at
    )
    if not spans:
        return None
    return Latency(
        count=len(spans),
        p50=percentile(spans, 50),
        p95=percentile(spans, 95),
        p99=percentile(spans, 99),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slippage:
    """How many basis points worse the fills were than the leaders' prices; negative is better."""

    count: int
    p50: Decimal
    p95: Decimal


def compute_slippage(orders: Iterable[OrderRecord]) -> Slippage | None:
    """Of all filled orders; None where there is none."""
    differences = sorted(
        adverse_bps(
            order.side, reference=order.leader_price, offered=order.usdc / Decimal(order.shares)
        )
        for order in orders
        if order.shares > 0 and order.leader_price is not None
    )
    if not differences:
        return None
    ranks = list(range(len(differences)))
    p50, p95 = (
        differences[percentile(ranks, hundredths)].quantize(BPS_PLACES) + 0
        for hundredths in (50, 95)
    )
    return Slippage(count=len(differences), p50=p50, p95=p95)
