"""What somebody owes after a settlement that could not be completed."""

from enum import StrEnum
from typing import ClassVar

from shared.messages.base import PositiveMicros, ProxyMessage


class Creditor(StrEnum):
    OPERATOR = "operator"
    """An advance that the proxy did not pay back."""
    FOLLOWER = "follower"
    """A refund that did not reach the proxy."""


class DebtRaised(ProxyMessage):
    """An amount is owed; recorded once, however often it is told."""

    topic: ClassVar[str] = "debts"
    debt_id: str
    intent_id: str
    creditor: Creditor
    usdc: PositiveMicros
    reason: str
