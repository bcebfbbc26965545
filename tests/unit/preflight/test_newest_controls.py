"""What was intended under earlier terms or modes is refused where the newest ones contradict it."""

from typing import Any

import pytest

from services.preflight.decisions import ExitState, after_verdict
from shared.domain.follows import Mode, follower_scope
from shared.domain.money import Side
from shared.domain.terms import EndMode, EntryMode, ExitMode
from shared.messages.intents import CopyCause, IntentRefused
from shared.messages.refusals import Refusal
from tests.builders import PROXY, a_follow, controls, refused, seconds, usdc
from tests.unit.preflight.test_exits import an_exit
from tests.unit.preflight.test_handler import balance, preflight

CLOSE_OUT: dict[str, Any] = {"cause": CopyCause.ENDED, "side": Side.SELL, "leader_price": None}
ENDED: dict[str, Any] = {"active": False, "at_end": EndMode.CLOSE_OUT}
COMPLEMENT = {"leader_token_id": "12"}


async def judge(
    terms: dict[str, Any], *, mode: Mode = Mode.ACTIVE, **intent: Any
) -> Refusal | None:
    given = controls(a_follow(**terms), modes={follower_scope(PROXY): mode})
    verdict = await preflight(balance(usdc(100)), given_controls=given).verdict(**intent)
    return verdict.reason if isinstance(verdict, IntentRefused) else None


@pytest.mark.parametrize("continues", ["", "1b" * 16], ids=["first attempt", "later attempt"])
@pytest.mark.parametrize(
    ("terms", "mode", "reason"),
    [
        (ENDED, Mode.ACTIVE, Refusal.NO_POSITION),
        ({}, Mode.CLOSING, Refusal.NO_POSITION),
        ({"exits": ExitMode.NONE}, Mode.CLOSING, Refusal.NO_POSITION),
        ({}, Mode.HALTED, Refusal.HALTED),
        ({}, Mode.ACTIVE, Refusal.NOT_CLOSED_OUT),
        ({}, Mode.REDUCING, Refusal.NOT_CLOSED_OUT),
        ({"active": False, "at_end": EndMode.FOLLOW}, Mode.ACTIVE, Refusal.NOT_CLOSED_OUT),
        ({"active": False, "at_end": EndMode.KEEP}, Mode.ACTIVE, Refusal.NOT_CLOSED_OUT),
    ],
)
async def test_a_close_out_that_was_taken_back_sells_nothing_more(
    terms: dict[str, Any], mode: Mode, reason: Refusal, continues: str
) -> None:
    assert await judge(terms, mode=mode, **CLOSE_OUT, continues=continues) is reason


async def test_controls_from_before_a_close_out_do_not_take_it_back() -> None:
    reason = await judge({}, **CLOSE_OUT, controls_version=controls().version + 1)

    assert reason is Refusal.NO_POSITION


def test_a_close_out_that_was_taken_back_ends_without_an_alarm() -> None:
    after = after_verdict(an_exit(), refused(reason=Refusal.NOT_CLOSED_OUT), retry_delay=seconds(5))

    assert after.state is ExitState.DONE


@pytest.mark.parametrize(
    ("terms", "intent", "reason"),
    [
        ({"entries": EntryMode.NONE}, {}, Refusal.ENTRIES_NOT_COPIED),
        ({}, {"cause": CopyCause.MIRRORED}, Refusal.ENTRIES_NOT_COPIED),
        ({"counter": True}, {}, Refusal.DIRECTION_CHANGED),
        ({}, COMPLEMENT, Refusal.DIRECTION_CHANGED),
        ({"counter": True}, COMPLEMENT, None),
        ({"entries": EntryMode.NONE}, {"side": Side.SELL}, Refusal.NO_POSITION),
        ({"counter": True}, {"side": Side.SELL}, Refusal.NO_POSITION),
        ({}, {"side": Side.SELL} | COMPLEMENT, Refusal.NO_POSITION),
    ],
)
async def test_an_entry_that_the_follow_would_not_make_any_more_is_refused(
    terms: dict[str, Any], intent: dict[str, Any], reason: Refusal | None
) -> None:
    """Exits go on: what was bought is sold."""
    assert await judge(terms, **intent) is reason
