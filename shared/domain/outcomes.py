"""The outcomes of a market."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeToken:
    """One of a market's tokens, and the name of the outcome that it pays for."""

    token_id: str
    outcome: str
    """Empty: the venue did not say."""
