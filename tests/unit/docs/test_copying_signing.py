"""Each row of docs/copying.md is what the code computes: terms that changed before signing."""

from decimal import Decimal

from services.executor.decisions import withdrawal_reason
from shared.domain.follows import Mode
from shared.domain.money import Side
from shared.messages.intents import IntentApproved, OrderType
from tests.builders import NOON, an_intent, approved, shares, usdc
from tests.unit.docs.copies import each_row, parse_terms

ENTRY = approved(usdc=usdc(26), limit_price=Decimal("0.51"))
EXIT = approved(
    an_intent(side=Side.SELL),
    order_type=OrderType.FAK,
    usdc=0,
    shares=shares(10),
    limit_price=Decimal("0.49"),
)


@each_row("### Before the order is signed")
def test_what_the_newest_terms_do_not_allow_is_withdrawn(row: list[str]) -> None:
    follow = parse_terms(row[0])

    def end(intent: IntentApproved) -> str:
        reason = withdrawal_reason(intent, mode=Mode.ACTIVE, follow=follow, now=NOON)
        return "withdrawn" if reason else "signed"

    assert [end(ENTRY), end(EXIT)] == row[1:]
