"""Debts after a settlement that could not be completed."""

from enum import StrEnum
from typing import ClassVar

from shared.messages.base import PositiveMicros, ProxyMessage


class Creditor(StrEnum):
    OPERATOR = "operator"
    """The proxy did not reimburse an advance."""
    FOLLOWER = "follower"
    """A refund did not reach the proxy."""


class DebtRaised(ProxyMessage):
    """An amount is owed; it is recorded once, however often it is reported."""

    topic: ClassVar[str] = "debts"
    debt_id: str
    intent_id: str
    creditor: Creditor
    usdc: PositiveMicros
    reason: str
