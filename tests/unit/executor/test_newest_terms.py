"""What the follow's newest terms would not approve in this form is not signed."""

from decimal import Decimal
from typing import Any

import pytest

from services.executor.decisions import withdrawal_reason
from shared.domain.follows import Follow, Mode
from shared.domain.money import Side
from shared.domain.terms import EndMode, EntryMode, ExitMode, Filters
from shared.messages.intents import CopyCause, IntentApproved, OrderType
from shared.messages.orders import OrderReported, OrderState
from tests.builders import NOON, a_follow, a_quote, an_intent, approved, controls, shares, usdc
from tests.unit.executor.harness import ExecutorHarness


def an_entry(**overrides: Any) -> IntentApproved:
    """Of 5 USDC after a leader's price of 0.50, at 0.51 at most."""
    return approved(**overrides)


def an_exit() -> IntentApproved:
    """Of 10 shares after a leader's price of 0.50, at 0.49 at least."""
    return approved(
        an_intent(side=Side.SELL),
        order_type=OrderType.FAK,
        usdc=0,
        shares=shares(10),
        limit_price=Decimal("0.49"),
    )


def worth(leader_usdc: int | None) -> IntentApproved:
    """An entry after a trade of the leader of this worth; None: not known."""
    return approved(an_intent(leader_usdc=leader_usdc))


def reason(intent: IntentApproved, **terms: Any) -> str:
    return withdrawal_reason(intent, mode=Mode.ACTIVE, follow=a_follow(**terms), now=NOON)


@pytest.mark.parametrize(
    ("intent", "terms", "withdrawn_for"),
    [
        (an_entry(), {"max_usdc": usdc(6)}, ""),
        (an_entry(), {"max_usdc": usdc(5)}, ""),
        (an_entry(), {"max_usdc": usdc("4.99")}, "the follow's maximum was 4.99 USDC"),
        (an_entry(), {"daily_cap_usdc": usdc(5)}, ""),
        (an_entry(), {"daily_cap_usdc": usdc("4.99")}, "the follow's daily cap was 4.99 USDC"),
        (an_entry(), {"max_slippage_bps": Decimal(201)}, ""),
        (an_entry(), {"max_slippage_bps": Decimal(200)}, ""),
        (an_entry(), {"max_slippage_bps": Decimal(199)}, "the follow allowed 199 bps"),
        (an_entry(), {"exits": ExitMode.NONE}, ""),
        (an_exit(), {"max_slippage_bps": Decimal(200)}, ""),
        (an_exit(), {"max_slippage_bps": Decimal(199)}, "the follow allowed 199 bps"),
        (an_exit(), {"max_usdc": usdc(1), "daily_cap_usdc": 0}, ""),
        (an_exit(), {"exits": ExitMode.ALL}, ""),
        (an_exit(), {"exits": ExitMode.NONE}, "the follow copied no exits any more"),
        (an_entry(), {"entries": EntryMode.NONE}, "the follow copied no such entries any more"),
        (
            approved(an_intent(cause=CopyCause.MIRRORED)),
            {},
            "the follow copied no such entries any more",
        ),
        (approved(an_intent(cause=CopyCause.MIRRORED)), {"entries": EntryMode.MIRROR}, ""),
        (an_entry(), {"counter": True}, "the follow copied the other outcome"),
        (approved(an_intent(leader_token_id="12")), {}, "the follow copied the other outcome"),
        (approved(an_intent(leader_token_id="12")), {"counter": True}, ""),
        (an_exit(), {"counter": True, "entries": EntryMode.NONE}, ""),
        (an_entry(), {"filters": Filters(max_price=Decimal("0.51"))}, ""),
        (an_entry(), {"filters": Filters(max_price=Decimal("0.50"))}, "the follow bought at 0.50"),
        (worth(usdc(50)), {"filters": Filters(min_leader_usdc=usdc(50))}, ""),
        (
            worth(usdc(50)),
            {"filters": Filters(min_leader_usdc=usdc(51))},
            "the follow copied trades of at least 51.00",
        ),
        (worth(None), {"filters": Filters(min_leader_usdc=usdc(51))}, ""),
        (
            an_exit(),
            {"filters": Filters(max_price=Decimal("0.1"), min_leader_usdc=usdc(10**6))},
            "",
        ),
        # a stricter price than the terms need now
        (an_entry(limit_price=Decimal("0.50")), {"max_slippage_bps": Decimal(0)}, ""),
        # no price of the grid is within the terms
        (
            an_entry(quote=a_quote(tick_size=Decimal("0.6")), limit_price=Decimal("0.6")),
            {},
            "the follow allowed 200 bps",
        ),
    ],
)
def test_terms_are_met_at_their_threshold_and_not_beyond(
    intent: IntentApproved, terms: dict[str, Any], withdrawn_for: str
) -> None:
    found = reason(intent, **{"min_usdc": 0} | terms)

    assert found.startswith(withdrawn_for)
    assert bool(found) is bool(withdrawn_for)


@pytest.mark.parametrize(
    ("follow", "mode", "withdrawn_for"),
    [
        (a_follow(active=False, at_end=EndMode.CLOSE_OUT), Mode.ACTIVE, ""),
        (a_follow(), Mode.CLOSING, ""),
        (a_follow(exits=ExitMode.NONE), Mode.CLOSING, ""),
        (a_follow(), Mode.HALTED, "the mode was halted"),
        (a_follow(), Mode.ACTIVE, "the follow was not closed out any more"),
        (a_follow(), Mode.REDUCING, "the follow was not closed out any more"),
        (
            a_follow(active=False, at_end=EndMode.FOLLOW),
            Mode.ACTIVE,
            "the follow was not closed out any more",
        ),
        (None, Mode.ACTIVE, "the follow was not closed out any more"),
    ],
)
def test_a_close_out_that_was_taken_back_is_not_signed(
    follow: Follow | None, mode: Mode, withdrawn_for: str
) -> None:
    close_out = approved(
        an_intent(side=Side.SELL, cause=CopyCause.ENDED),
        order_type=OrderType.FAK,
        usdc=0,
        shares=shares(10),
        limit_price=Decimal("0.49"),
    )

    found = withdrawal_reason(close_out, mode=mode, follow=follow, now=NOON)

    assert found.startswith(withdrawn_for)
    assert bool(found) is bool(withdrawn_for)


async def test_an_exit_withdrawn_for_its_price_may_be_attempted_again() -> None:
    executor = ExecutorHarness()
    executor.controls.controls = controls(a_follow(max_slippage_bps=Decimal(100)))

    (report,) = await executor.handle(an_exit())

    assert isinstance(report, OrderReported)
    assert report.state is OrderState.WITHDRAWN
    assert report.obstacle_may_pass
    assert "the follow allowed 100 bps" in report.reason
    assert executor.venue.posted == []


async def test_terms_that_change_after_an_order_was_recorded_do_not_touch_it() -> None:
    executor = ExecutorHarness("retry later")
    await executor.handle(an_entry())
    executor.controls.controls = controls(a_follow(max_usdc=usdc(1)))

    await executor.handle(an_entry())

    assert executor.order.state is OrderState.MATCHED
    assert executor.order.body
