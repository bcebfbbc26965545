"""Debts and their sum. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from shared.messages.debts import Creditor, DebtRaised


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt:
    debt_id: str
    proxy: str
    intent_id: str
    creditor: Creditor
    usdc: int
    """Micro-USDC."""
    reason: str
    raised_at: datetime


def build_debt(raised: DebtRaised) -> Debt:
    return Debt(
        debt_id=raised.debt_id,
        proxy=raised.proxy,
        intent_id=raised.intent_id,
        creditor=raised.creditor,
        usdc=raised.usdc,
        reason=raised.reason,
        raised_at=raised.occurred_at,
    )


def sum_owed(creditor: Creditor, debts: Iterable[Debt]) -> int:
    """The sum of the creditor's debts, in micro-USDC."""
    return sum(debt.usdc for debt in debts if debt.creditor is creditor)
