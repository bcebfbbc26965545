"""Handler of debt-recovery: record each debt once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.debt_recovery.decisions import Debt, build_debt
from shared.messages.base import Message
from shared.messages.debts import DebtRaised


class Debts(Protocol):
    async def record(self, debt: Debt) -> None:
        """Record the debt. Idempotent. Raises: Transient."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    debts: Debts

    async def on_debt_raised(self, raised: DebtRaised) -> Sequence[Message]:
        await self.debts.record(build_debt(raised))
        return []
