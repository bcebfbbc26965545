"""`slipstream why` tells of an exit by level what the leader held and should have held."""

from shared.domain.money import Side
from shared.messages.intents import CopyCause, LeaderLevel
from tests.builders import LEADER, TOKEN, an_intent, approved, shares
from tests.unit.cli.test_why import ExitRow, a_copy, an_attempt, read


def shown(cause: CopyCause) -> dict[str, str]:
    intent = an_intent(
        side=Side.SELL,
        transaction_hash="",
        leader_price=None,
        leader_shares=shares(400),
        leader_held_shares=shares(1000),
        cause=cause,
        level=LeaderLevel(shares=shares(600), block_number=160, base_block_number=100),
    )
    return read(a_copy(an_attempt(approved(intent)), exit=ExitRow(), fills=[]))


def test_an_exit_by_level_tells_what_was_read_and_expected() -> None:
    facts = shown(CopyCause.RECONCILED)

    assert (facts["leader"], facts["token"]) == (LEADER, TOKEN)
    assert facts["cause"] == "the leader holds less than his known trades explain"
    assert facts["expected"] == "1000 shares"
    assert facts["held"] == "600 shares at block 160"
    assert facts["compared with"] == "his level at block 100"


def test_a_follow_that_is_closed_out_tells_so_and_expects_nothing() -> None:
    facts = shown(CopyCause.ENDED)

    assert "the follow ended, or is closed out" in facts["cause"]
    assert "expected" not in facts
