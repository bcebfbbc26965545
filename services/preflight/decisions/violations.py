"""What a check finds: the reason of a refusal with the value and the threshold. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TypeVar

from services.preflight.decisions.facts import PreflightFacts
from shared.domain.money import as_decimal
from shared.messages.refusals import Refusal

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Violation:
    reason: Refusal
    value: Decimal
    threshold: Decimal


Check = Callable[[PreflightFacts], Violation | None]


def check_at_most(reason: Refusal, value: Decimal, threshold: Decimal) -> Violation | None:
    return Violation(reason, value, threshold) if value > threshold else None


def check_time_at_most(reason: Refusal, span: timedelta, limit: timedelta) -> Violation | None:
    return Violation(reason, seconds(span), seconds(limit)) if span > limit else None


def check_at_least(reason: Refusal, value: int, threshold: int) -> Violation | None:
    """Amounts in base units."""
    return (
        Violation(reason, as_decimal(value), as_decimal(threshold)) if value < threshold else None
    )


def seconds(span: timedelta) -> Decimal:
    return Decimal(span // timedelta(microseconds=1)).scaleb(-6)


def require(fact: T | None, name: str) -> T:
    """The checks run in order: what a later one uses, an earlier one has found present."""
    if fact is None:
        raise TypeError(f"the facts have no {name}: the check or the fetch before was left out")
    return fact
