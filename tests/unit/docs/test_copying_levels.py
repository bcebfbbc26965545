"""docs/copying.md: what a follow sells because of what its leader holds."""

from datetime import timedelta

from services.preflight.decisions.exits import proportional_shares
from services.preflight.decisions.reconciliation import (
    Base,
    HeldToken,
    IntendExit,
    JudgedTrade,
    Reading,
    decide,
)
from shared.domain.follows import Mode
from shared.domain.money import Side, as_decimal
from tests.builders import NOON, TOKEN, TRANSACTION, a_follow, seconds, shares
from tests.unit.docs.copies import each_row


def _trades(cell: str) -> list[JudgedTrade]:
    if cell == "none":
        return []
    verb, amount = cell.removesuffix(", missed").split()
    trade = JudgedTrade(
        transaction_hash=TRANSACTION,
        side=Side.SELL if verb == "sells" else Side.BUY,
        leader_shares=shares(amount),
        judged_at=NOON + seconds(1),
        is_missed=cell.endswith("missed"),
    )
    return [trade]


@each_row("## What the leader holds")
def test_what_is_missing_is_sold_as_the_page_says(row: list[str]) -> None:
    base, trades, now_holds, held, sold = row
    token = HeldToken(
        follow=a_follow(),
        token_id=TOKEN,
        shares=shares(held),
        is_under_way=False,
        base=Base(leader_shares=shares(base), block_number=1, accounted_at=NOON),
        trades=_trades(trades),
    )
    seen = Reading(
        block_number=9,
        block_at=NOON + seconds(60),
        leader_shares=shares(now_holds),
        mined_in={TRANSACTION: 5},
    )

    step = decide(
        token, seen, mode=Mode.ACTIVE, suspicion=None, act_after=timedelta(0), now=seen.block_at
    )

    written = "nothing"
    if isinstance(step, IntendExit):
        to_sell = proportional_shares(step.intent, held=shares(held))
        written = f"{as_decimal(to_sell):.2f}"
    assert (row, written) == (row, sold)
