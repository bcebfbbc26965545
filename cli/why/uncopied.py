"""Builds what `slipstream why` prints about a leader's trade of which no verdict is recorded."""

from typing import Any

from rich.console import Group
from rich.text import Text

from cli.formatting import format_amount, format_time
from cli.why.records import UncopiedTrade
from cli.why.screen import build_fills_table


def build_uncopied(trade: UncopiedTrade) -> list[Group | Text]:
    """What is known of the trade, and why it may have no copies."""
    title = f"Transaction {trade.transaction_hash} was reported, and nothing of it is judged"
    return [
        Text(title, style="bold"),
        build_fills_table(trade.fills),
        *(Text(sentence) for sentence in explain(trade)),
    ]


def explain(trade: UncopiedTrade) -> list[str]:
    """Why there may be no copies, one sentence for each reason that applies."""
    intended = [each for each in trade.slices if not each.resent_of]
    resent = [each for each in trade.slices if each.resent_of]
    reasons = [_explain_resent(each) for each in resent]
    if intended:
        reasons.append(_explain_intended(trade, format_time(intended[-1].intended_at)))
    elif not resent:
        reasons.append(_explain_without_slices(trade))
    return reasons


def _explain_resent(copy_slice: Any) -> str:
    shares = format_amount(copy_slice.to_shares - copy_slice.from_shares)
    transaction = copy_slice.resent_transaction
    if transaction is None:
        return f"{shares} shares of it were copied already, as trade {copy_slice.resent_of}."
    return (
        f"{shares} shares of it were copied already, as transaction {transaction}, of which it "
        f"counts as a resent settlement: `slipstream why {transaction}`."
    )


def _explain_intended(trade: UncopiedTrade, intended_at: str) -> str:
    if not trade.followers:
        return (
            f"Nobody followed the leader at version {trade.controls_version} of the controls: "
            "`slipstream follows` shows who follows whom now."
        )
    return (
        f"Copies were intended at {intended_at} for {', '.join(trade.followers)}, and preflight "
        "has judged none yet: see the consumer lag of pricer and preflight, and "
        "`slipstream dead-letters list`."
    )


def _explain_without_slices(trade: UncopiedTrade) -> str:
    if any(fill.awaits_confirmation for fill in trade.fills):
        return (
            "It awaits confirmation: the activity socket reported it like a trade that is known "
            "under another transaction. It is copied once its own transaction is in a block."
        )
    return "No slice of it was to be copied: what it adds is below the rounding of its reports."
