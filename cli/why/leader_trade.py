"""What a copy was intended for: a trade of the leader, or what he holds."""

from decimal import Decimal

from cli.formatting import Facts, format_amount, format_known, format_number, format_time
from cli.why.records import Attempt
from shared.domain.money import cost_floor
from shared.messages.intents import CopyCause, Intent

CAUSES = {
    CopyCause.TRADE: "the leader traded",
    CopyCause.RECONCILED: "the leader holds less than his known trades explain",
    CopyCause.LEADER_OUT: "the leader holds nothing, and the follow still does",
    CopyCause.MIRRORED: "the leader holds more than his known trades explain, and is mirrored",
    CopyCause.ENDED: "the follow ended, or is closed out: it sells all that it holds",
}


def list_leader_trade(attempt: Attempt) -> Facts:
    intent = attempt.intent
    if intent.leader_price is None:
        return _list_level(intent)
    price = 1 - intent.leader_price if intent.leader_token_id else intent.leader_price
    usdc = cost_floor(intent.leader_shares, price)
    facts = [
        ("leader", intent.leader),
        (
            "traded",
            f"{intent.side.value} {format_amount(intent.leader_shares)} shares at "
            f"{format_number(price)} USDC ({format_amount(usdc)} USDC)",
        ),
    ]
    if intent.leader_held_shares is not None:
        facts.append(("of his", f"{format_amount(intent.leader_held_shares)} shares"))
    if intent.leader_usdc not in (None, usdc):
        facts.append(("trade so far", f"{format_amount(intent.leader_usdc)} USDC"))
    return [
        *facts,
        *_list_tokens(intent, intent.leader_price),
        ("transaction", intent.transaction_hash),
        ("filled", format_time(intent.filled_at)),
    ]


def _list_level(intent: Intent) -> Facts:
    """Of an exit that no trade of the leader calls for."""
    facts = [("leader", intent.leader), ("cause", CAUSES[intent.cause])]
    if intent.cause in (CopyCause.RECONCILED, CopyCause.MIRRORED):
        facts.append(("expected", f"{format_known(intent.leader_held_shares)} shares"))
    if intent.level is not None:
        level = intent.level
        facts.append(
            ("held", f"{format_amount(level.shares)} shares at block {level.block_number}")
        )
        facts.append(("compared with", f"his level at block {level.base_block_number}"))
    return [
        *facts,
        ("token", intent.token_id),
        ("read", format_time(intent.filled_at)),
    ]


def _list_tokens(intent: Intent, price: Decimal) -> Facts:
    """The market and the leader's token; of a counter follow also the one that is copied."""
    title = intent.title or "title not known"
    outcome = intent.outcome or "outcome not known"
    if not intent.leader_token_id:
        return [("market", f"{title}: {outcome}"), ("token", intent.token_id)]
    tokens = [("market", title), ("his token", intent.leader_token_id)]
    if intent.complement_missing is not None:
        return [*tokens, ("copied", "the complementary outcome, which is not known")]
    reference = format_number(price)
    return [
        *tokens,
        ("copied", f"the complementary outcome {outcome}, at his price {reference} USDC"),
        ("our token", intent.token_id),
    ]
