"""What one order has learned about the venue, so that the others need not post to learn the same.

A gate is closed for all orders (a restart, a mode), for those of one side (the region: some may
close positions and not open any), or for one wallet's of one side (closed-only). While it is
closed, one order in each interval is posted and asks whether it has opened. The others wait, or end
as the venue would end them: entries alone, for an exit is ended only by the venue's own answer to
it. What is known is this instance's own, and forgotten with it.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.executor.decisions import Order
from shared.domain.money import Side
from shared.observe import metrics
from shared.polymarket.gates import Gate
from shared.polymarket.replies import Reason, Rejected, Reply, ReplyLost, RetryLater

logger = logging.getLogger(__name__)

MAX_WAIT = timedelta(seconds=60)
"""Longer times that the venue asks for are cut: it may open earlier."""

FINAL_REASONS = {
    Gate.REGION_BLOCKED: Reason.REGION_BLOCKED,
    Gate.CLOSED_ONLY: Reason.CLOSED_ONLY,
}
"""Gates for which an entry ends, as if it had been posted; for the others it waits."""

Scope = tuple[str | None, Side | None]
"""A wallet and the side of its orders; None: of all wallets, or on both sides."""
EVERYTHING: Scope = (None, None)


@dataclass(slots=True, kw_only=True)
class ClosedGate:
    gate: Gate
    text: str
    """The venue's."""
    closed_at: datetime
    probe_at: datetime
    """From then on, the next order is posted."""

    def reply(self, order: Order, *, may_have_arrived: bool) -> Reply:
        reason = FINAL_REASONS.get(self.gate)
        if reason is None or may_have_arrived or order.side is Side.SELL:
            return RetryLater(self.text, gate=self.gate)
        return Rejected(reason, f"{self.text} (known from another order, not posted)")


class VenueGates:
    def __init__(self, *, now: Callable[[], datetime], probe_interval: timedelta) -> None:
        self._now, self._probe_interval = now, probe_interval
        self._closed: dict[Scope, ClosedGate] = {}

    def known_reply(self, order: Order, *, may_have_arrived: bool) -> Reply | None:
        """The reply to the order, if it need not be posted to know it; None: post it."""
        closed = [self._closed[scope] for scope in _scopes(order) if scope in self._closed]
        now = self._now()
        waiting = next((each for each in closed if now < each.probe_at), None)
        if waiting is not None:
            return waiting.reply(order, may_have_arrived=may_have_arrived)
        for each in closed:
            each.probe_at = now + self._probe_interval
        return None

    def learn(self, order: Order, reply: Reply, *, posted_at: datetime) -> None:
        """Close or open gates by the reply to an order that was posted at this time. A reply to an
        order from before a gate was closed does not open it.
        """
        _, side, wallet = _scopes(order)
        shut: Scope | None = None
        if isinstance(reply, Rejected | RetryLater) and (gate := reply.gate) is not None:
            shut = {Gate.CLOSED_ONLY: wallet, Gate.REGION_BLOCKED: side}.get(gate, EVERYTHING)
            self._close(shut, gate, reply)
        if _shows_open_venue(reply):
            for scope in _scopes(order):
                if scope != shut:
                    self._open(scope, posted_at)

    def _close(self, scope: Scope, gate: Gate, reply: Rejected | RetryLater) -> None:
        now, known = self._now(), self._closed.get(scope)
        asked_s = reply.retry_after_s if isinstance(reply, RetryLater) else None
        wait = min(timedelta(seconds=asked_s), MAX_WAIT) if asked_s else self._probe_interval
        wait = max(wait, self._probe_interval)
        self._closed[scope] = ClosedGate(
            gate=gate,
            text=reply.text,
            closed_at=now if known is None else known.closed_at,
            probe_at=now + wait,
        )
        if known is None or known.gate is not gate:
            logger.warning(
                "the venue takes no %s (%s): %s. They are not posted; one in %.1f s asks again",
                _describe(scope),
                gate,
                reply.text,
                wait.total_seconds(),
            )
            self._count()

    def _open(self, scope: Scope, posted_at: datetime) -> None:
        known = self._closed.get(scope)
        if known is None or posted_at < known.closed_at:
            return
        del self._closed[scope]
        logger.warning(
            "the venue takes %s again, after %.1f s (%s)",
            _describe(scope),
            (self._now() - known.closed_at).total_seconds(),
            known.gate,
        )
        self._count()

    def _count(self) -> None:
        closed = Counter(each.gate for each in self._closed.values())
        for gate in Gate:
            metrics.gates_closed(gate, closed[gate])


def _shows_open_venue(reply: Reply) -> bool:
    """Whether the venue looked at the order: it is not closed for orders as a whole."""
    if isinstance(reply, Rejected):
        return reply.reason not in (Reason.UNAUTHORIZED, Reason.REGION_BLOCKED)
    return not isinstance(reply, RetryLater | ReplyLost)


def _scopes(order: Order) -> tuple[Scope, Scope, Scope]:
    """Those that the order belongs to, from the widest."""
    return EVERYTHING, (None, order.side), (order.proxy, order.side)


def _describe(scope: Scope) -> str:
    proxy, side = scope
    orders = f"{side} orders" if side is not None else "orders"
    return orders if proxy is None else f"{orders} of proxy {proxy}"
