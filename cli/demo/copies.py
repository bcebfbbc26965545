"""What have the topics told about each copy so far? Pure: messages in, in any order across topics;
views out.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import assert_never

from shared.domain.money import Side
from shared.messages.intents import (
    CopyIntended,
    Intent,
    IntentApproved,
    IntentQuoted,
    IntentRefused,
)
from shared.messages.orders import FINAL_STATES, OrderReported, OrderState

Told = CopyIntended | IntentQuoted | IntentApproved | IntentRefused | OrderReported
TOLD: tuple[type[Told], ...] = (
    CopyIntended,
    IntentQuoted,
    IntentApproved,
    IntentRefused,
    OrderReported,
)

INTENDED, APPROVED, REFUSED = "intended", "approved", "refused"

RANK_BY_STATE = {
    state: rank
    for rank, state in enumerate((OrderState.SIGNED, OrderState.UNKNOWN, OrderState.MATCHED))
}
LAST_RANK = len(RANK_BY_STATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A copy as the live table shows it. ``usdc`` and ``price`` are the fill's where there is one,
    else the leader's and the wish.
    """

    leader: str
    market: str
    side: Side
    usdc: int
    price: Decimal
    follower: str
    state: str
    since_seen: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What preflight said first, and whether it ever said the opposite."""

    kind: str
    reason: str
    told_at: datetime
    contradicted: bool = False


class Copies:
    """Everything told, by intent. A repetition changes nothing."""

    def __init__(self) -> None:
        self.intents: dict[str, Intent] = {}
        self.quoted_at: dict[str, datetime] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.reports: dict[str, OrderReported] = {}
        self._changed: dict[str, None] = {}

    def on(self, message: Told) -> None:
        match message:
            case CopyIntended():
                self.intents.setdefault(message.intent_id, message.intent)
            case IntentQuoted():
                self.quoted_at.setdefault(message.intent_id, message.occurred_at)
            case IntentApproved():
                self._judged(
                    message.intent_id,
                    Verdict(kind=APPROVED, reason="", told_at=message.occurred_at),
                )
            case IntentRefused():
                self._judged(
                    message.intent_id,
                    Verdict(kind=REFUSED, reason=message.reason.value, told_at=message.occurred_at),
                )
            case OrderReported():
                self._reported(message)
            case _:
                assert_never(message)
        self._changed.pop(message.intent_id, None)
        self._changed[message.intent_id] = None

    def state(self, intent_id: str) -> str:
        """The newest known state, in one word."""
        if (report := self.reports.get(intent_id)) is not None:
            return report.state.value
        verdict = self.verdicts.get(intent_id)
        return verdict.kind if verdict is not None else INTENDED

    def counts(self) -> Counter[str]:
        return Counter(self.state(intent_id) for intent_id in self.intents)

    def refusals(self) -> Counter[str]:
        return Counter(
            verdict.reason for verdict in self.verdicts.values() if verdict.kind == REFUSED
        )

    def pending(self) -> dict[str, str]:
        """The state of every intent of which the topics have not told the end."""
        return {
            intent_id: state
            for intent_id in self.intents
            if not is_end(state := self.state(intent_id))
        }

    def recent(self, count: int) -> list[Row]:
        """The copies of which something was told last, newest first."""
        known = (intent_id for intent_id in reversed(self._changed) if intent_id in self.intents)
        return [self._row(intent_id) for intent_id in islice(known, count)]

    def _judged(self, intent_id: str, verdict: Verdict) -> None:
        standing = self.verdicts.setdefault(intent_id, verdict)
        if (standing.kind, standing.reason) != (verdict.kind, verdict.reason):
            self.verdicts[intent_id] = Verdict(
                kind=standing.kind,
                reason=standing.reason,
                told_at=standing.told_at,
                contradicted=True,
            )

    def _reported(self, report: OrderReported) -> None:
        known = self.reports.get(report.intent_id)
        if known is None or _rank(report.state) >= _rank(known.state):
            self.reports[report.intent_id] = report

    def _row(self, intent_id: str) -> Row:
        intent, report, verdict = (
            self.intents[intent_id],
            self.reports.get(intent_id),
            self.verdicts.get(intent_id),
        )
        has_fill = report is not None and report.shares > 0
        told_at = (
            report.occurred_at if report else verdict.told_at if verdict else intent.intended_at
        )
        state = self.state(intent_id)
        return Row(
            leader=intent.leader,
            market=f"{intent.title} {intent.outcome}".strip(),
            side=intent.side,
            usdc=report.usdc if report and has_fill else intent.usdc,
            price=report.usdc / Decimal(report.shares)
            if report and has_fill
            else intent.leader_price,
            follower=intent.proxy,
            state=f"{state}: {verdict.reason}" if state == REFUSED and verdict else state,
            since_seen=told_at - intent.seen_at,
        )


def is_end(state: str) -> bool:
    return state == REFUSED or state in {final.value for final in FINAL_STATES}


def refusal_lines(refusals: Counter[str]) -> Iterator[str]:
    """``reason n``, the most frequent first."""
    return (
        f"{reason} {count}"
        for reason, count in sorted(refusals.items(), key=lambda item: (-item[1], item[0]))
    )


def _rank(state: OrderState) -> int:
    return RANK_BY_STATE.get(state, LAST_RANK)
