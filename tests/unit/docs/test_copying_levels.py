"""docs/copying.md: what a follow sells because of what its leader holds."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from cli.parsing import parse_end_mode
from services.preflight.decisions.exits import proportional_shares
from services.preflight.decisions.levels import (
    Base,
    HeldToken,
    IntendCopy,
    JudgedTrade,
    Reading,
    Step,
)
from services.preflight.decisions.mirror import NOTHING_KNOWN, decide_entry
from services.preflight.decisions.reconciliation import decide
from shared.domain.follows import Follow, Mode
from shared.domain.money import Side, as_decimal
from shared.domain.terms import EntryMode
from tests.builders import LEADER, NOON, TOKEN, TRANSACTION, a_follow, controls, seconds, shares
from tests.unit.docs.copies import each_row


def decided(
    follow: Follow, held: int, *, base: str | int, now_holds: str, trades: Sequence[JudgedTrade]
) -> Step:
    """What a reading leads to that nothing delays."""
    token = HeldToken(
        follow=follow,
        token_id=TOKEN,
        leader_token_id=TOKEN,
        shares=held,
        is_under_way=False,
        base=Base(leader_shares=shares(base), block_number=1, accounted_at=NOON),
        trades=trades,
    )
    seen = read_at(now_holds)
    return decide(
        token, seen, mode=Mode.ACTIVE, pending=None, act_after=timedelta(0), now=seen.block_at
    )


def read_at(now_holds: str) -> Reading:
    return Reading(
        block_number=9,
        block_at=NOON + seconds(60),
        leader_shares=shares(now_holds),
        mined_in={TRANSACTION: 5},
    )


def written_exit(step: Step | None, held: int = shares(50)) -> str:
    if not isinstance(step, IntendCopy):
        return "nothing"
    return f"{as_decimal(proportional_shares(step.intent, held=held)):.2f}"


def _trades(cell: str) -> list[JudgedTrade]:
    if cell == "none":
        return []
    verb, amount, *held = cell.removesuffix(", missed").replace(" of ", " ").split()
    trade = JudgedTrade(
        transaction_hash=TRANSACTION,
        leader_token_id=TOKEN,
        side=Side.SELL if verb == "sells" else Side.BUY,
        leader_shares=shares(amount),
        leader_held_shares=shares(held[0]) if held else None,
        judged_at=NOON + seconds(1),
        is_missed=cell.endswith("missed"),
    )
    return [trade]


@each_row("### Mirroring a leader")
def test_what_is_mirrored_is_bought_as_the_page_says(row: list[str]) -> None:
    bought, now_holds, price, spent = row
    token = HeldToken(
        follow=a_follow(entries=EntryMode.MIRROR),
        token_id=TOKEN,
        leader_token_id=TOKEN,
        shares=0,
        is_under_way=False,
        base=replace(NOTHING_KNOWN, leader_shares=shares(bought)),
    )
    seen = read_at(now_holds)

    step = decide_entry(
        token,
        seen,
        price=Decimal(price),
        mode=Mode.ACTIVE,
        pending=None,
        act_after=timedelta(0),
        now=seen.block_at,
    )

    written = f"{as_decimal(step.intent.usdc):.2f}" if isinstance(step, IntendCopy) else "nothing"
    assert (row, written) == (row, spent)


@each_row("## When a follow ends")
def test_an_ended_follow_does_as_the_page_says(row: list[str]) -> None:
    positions, buys, sells, at_once = row
    at_end = parse_end_mode(positions.strip("`"), what="--positions")
    follow = a_follow(active=False, at_end=at_end)
    known = controls(follow)

    for side, written in ((Side.BUY, buys), (Side.SELL, sells)):
        copied = "copied" if follow in known.follows_for(LEADER, side) else "no copy"
        assert (positions, side, copied) == (positions, side, written)
    step = (
        decided(follow, shares(50), base=1000, now_holds="1000", trades=[])
        if follow in known.follows_that_sell()
        else None
    )
    assert (positions, f"{written_exit(step)}") == (positions, at_once.removeprefix("sells "))


@each_row("## What the leader holds")
def test_what_is_missing_is_sold_as_the_page_says(row: list[str]) -> None:
    base, trades, now_holds, held, sold = row

    step = decided(a_follow(), shares(held), base=base, now_holds=now_holds, trades=_trades(trades))

    assert (row, written_exit(step, shares(held))) == (row, sold)
