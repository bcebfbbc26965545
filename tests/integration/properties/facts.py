"""What is true of the pipeline by what it published and what the venue did: counted by the model
alone, to be compared with what the services have recorded.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from shared.domain.money import Side
from shared.messages.base import Message
from shared.messages.intents import CopyIntended, Intent, IntentApproved, IntentRefused
from shared.messages.orders import FINAL_STATES, OrderReported, TradeStatus
from tests.integration.properties.modelled_venue import VenueTrade

Position = tuple[str, str]
"""A follow and a token."""


@dataclass(frozen=True, slots=True)
class Filled:
    shares: int = 0
    usdc: int = 0


@dataclass
class Facts:
    intents: dict[str, Intent] = field(default_factory=dict)
    """Each as it was first published, in that order."""
    verdicts: dict[str, IntentApproved | IntentRefused] = field(default_factory=dict)
    final_reports: dict[str, OrderReported] = field(default_factory=dict)
    contradictions: list[str] = field(default_factory=list)

    def add(self, messages: Iterable[Message]) -> None:
        for message in messages:
            match message:
                case CopyIntended():
                    self._add_intent(message.intent)
                case IntentApproved() | IntentRefused():
                    self._add_verdict(message)
                case OrderReported() if message.state in FINAL_STATES:
                    self._add_report(message)
                case _:
                    pass

    def approved(self) -> list[IntentApproved]:
        return [each for each in self.verdicts.values() if isinstance(each, IntentApproved)]

    def _add_intent(self, intent: Intent) -> None:
        known = self.intents.setdefault(intent.intent_id, intent)
        if _without_times(known) != _without_times(intent):
            self.contradictions.append(f"an intent was published twice: {known} {intent}")

    def _add_verdict(self, verdict: IntentApproved | IntentRefused) -> None:
        known = self.verdicts.setdefault(verdict.intent_id, verdict)
        if known != verdict:
            self.contradictions.append(f"an intent has two verdicts: {known} {verdict}")

    def _add_report(self, report: OrderReported) -> None:
        known = self.final_reports.setdefault(report.intent_id, report)
        if _without_times(known) != _without_times(report):
            self.contradictions.append(f"an order has two ends: {known} {report}")


def _without_times(fact: Intent | OrderReported) -> dict[str, object]:
    """A redelivery may date its message later; of an exit's attempt the dates are those of each
    publication.
    """
    return fact.model_dump(exclude={"seen_at", "intended_at", "occurred_at"})


def filled_by_intent(trades: Iterable[VenueTrade]) -> dict[str, Filled]:
    """What the venue filled and settled, or is still settling."""
    filled: dict[str, Filled] = {}
    for trade in trades:
        if trade.status is not TradeStatus.FAILED:
            before = filled.get(trade.order.intent_id, Filled())
            filled[trade.order.intent_id] = Filled(
                before.shares + trade.shares, before.usdc + trade.usdc
            )
    return filled


def position_by_follow(
    facts: Facts, filled: dict[str, Filled], settled: Iterable[str]
) -> dict[Position, int]:
    """Micro-shares that the settled intents of each follow bought less those that they sold."""
    positions: dict[Position, int] = defaultdict(int)
    for intent_id in settled:
        intent, shares = facts.intents[intent_id], filled.get(intent_id, Filled()).shares
        position = (intent.follow_id, intent.token_id)
        positions[position] += shares if intent.side is Side.BUY else -shares
    return positions


def hour(verdict: IntentApproved) -> str:
    """The UTC hour, as preflight names it."""
    return verdict.occurred_at.astimezone(UTC).strftime("%Y-%m-%dT%H")


def highest_sum(amounts: Iterable[tuple[datetime, int]], *, within: timedelta) -> int:
    """The highest sum of what falls into any interval of that length, without its beginning."""
    ordered = sorted(amounts)
    return max(
        (sum(amount for at, amount in ordered if end - within < at <= end) for end, _ in ordered),
        default=0,
    )
