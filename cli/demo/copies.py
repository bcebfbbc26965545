"""The state of every copy, as the topics publish it. Pure.

Messages may come in any order across topics.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, assert_never

from shared.domain.money import Side
from shared.messages.intents import (
    CopyIntended,
    Intent,
    IntentApproved,
    IntentQuoted,
    IntentRefused,
)
from shared.messages.orders import FINAL_STATES, OrderReported, OrderState

CopyMessage = CopyIntended | IntentQuoted | IntentApproved | IntentRefused | OrderReported
COPY_MESSAGES: tuple[type[CopyMessage], ...] = (
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
    """A copy as the live table shows it. ``usdc`` and ``price`` are the fill's; without a fill, the
    intended amount and the leader's price; None where no trade is copied.
    """

    leader: str
    market: str
    side: Side
    usdc: int
    price: Decimal | None
    follower: str
    state: str
    since_seen: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Preflight's first verdict on an intent, and whether another one contradicts it."""

    kind: str
    reason: str
    published_at: datetime
    contradicted: bool = False


class Copies:
    """Everything published, by intent. A repeated message changes nothing."""

    def __init__(self, market_names: Mapping[str, str] | None = None) -> None:
        """``market_names``: title and outcome by token id, for fills that the chain made known: its
        logs name no market.
        """
        self._market_names = market_names or {}
        self.intents: dict[str, Intent] = {}
        self.quoted_at: dict[str, datetime] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.reports: dict[str, OrderReported] = {}
        self._changed: dict[str, None] = {}

    def add(self, message: CopyMessage) -> None:
        match message:
            case CopyIntended():
                self.intents.setdefault(message.intent_id, message.intent)
            case IntentQuoted():
                self.quoted_at.setdefault(message.intent_id, message.occurred_at)
            case IntentApproved():
                self._add_verdict(
                    message.intent_id,
                    Verdict(kind=APPROVED, reason="", published_at=message.occurred_at),
                )
            case IntentRefused():
                self._add_verdict(
                    message.intent_id,
                    Verdict(
                        kind=REFUSED, reason=message.reason.value, published_at=message.occurred_at
                    ),
                )
            case OrderReported():
                self._add_report(message)
            case _:
                assert_never(message)
        self._changed.pop(message.intent_id, None)
        self._changed[message.intent_id] = None

    def state(self, intent_id: str) -> str:
        """The newest known state as one word."""
        if (report := self.reports.get(intent_id)) is not None:
            return report.state.value
        verdict = self.verdicts.get(intent_id)
        return verdict.kind if verdict is not None else INTENDED

    def count_states(self) -> Counter[str]:
        return Counter(self.state(intent_id) for intent_id in self.intents)

    def count_refusals(self) -> Counter[str]:
        return Counter(
            verdict.reason for verdict in self.verdicts.values() if verdict.kind == REFUSED
        )

    def pending(self) -> dict[str, str]:
        """The states of the intents that are not final, by intent."""
        return {
            intent_id: state
            for intent_id in self.intents
            if not is_final(state := self.state(intent_id))
        }

    def recent(self, count: int) -> list[Row]:
        """The copies with the newest messages, newest first."""
        known = (intent_id for intent_id in reversed(self._changed) if intent_id in self.intents)
        return [self._build_row(intent_id) for intent_id in islice(known, count)]

    def _add_verdict(self, intent_id: str, verdict: Verdict) -> None:
        first = self.verdicts.setdefault(intent_id, verdict)
        if (first.kind, first.reason) != (verdict.kind, verdict.reason):
            self.verdicts[intent_id] = replace(first, contradicted=True)

    def _add_report(self, report: OrderReported) -> None:
        known = self.reports.get(report.intent_id)
        if known is None or _rank(report.state) >= _rank(known.state):
            self.reports[report.intent_id] = report

    def _build_row(self, intent_id: str) -> Row:
        intent = self.intents[intent_id]
        report, verdict = self.reports.get(intent_id), self.verdicts.get(intent_id)
        has_fill = report is not None and report.shares > 0
        changed_at = (
            report.occurred_at
            if report
            else verdict.published_at
            if verdict
            else intent.intended_at
        )
        state = self.state(intent_id)
        return Row(
            leader=intent.leader,
            market=self._market_name(intent),
            side=intent.side,
            usdc=report.usdc if report and has_fill else intent.usdc,
            price=report.usdc / Decimal(report.shares)
            if report and has_fill
            else intent.leader_price,
            follower=intent.proxy,
            state=f"{state}: {verdict.reason}" if state == REFUSED and verdict else state,
            since_seen=changed_at - intent.seen_at,
        )

    def _market_name(self, intent: Intent) -> str:
        """Title and outcome; empty where neither the fill nor the venue named them."""
        if intent.title:
            return f"{intent.title} {intent.outcome}".strip()
        return self._market_names.get(intent.token_id, intent.outcome)


def market_names(world: Mapping[str, Any]) -> dict[str, str]:
    """Title and outcome by token id, of the markets that the venue's control endpoint lists."""
    return {
        token_id: f"{market['question']} {outcome}"
        for market in world["markets"]
        for token_id, outcome in zip(market["token_ids"], market["outcomes"], strict=True)
    }


def is_final(state: str) -> bool:
    return state == REFUSED or state in FINAL_STATES


def format_refusals(refusals: Counter[str]) -> Iterator[str]:
    """``reason count`` for each reason, the most frequent first."""
    return (
        f"{reason} {count}"
        for reason, count in sorted(refusals.items(), key=lambda item: (-item[1], item[0]))
    )


def _rank(state: OrderState) -> int:
    return RANK_BY_STATE.get(state, LAST_RANK)
