"""`slipstream why` shows what the services recorded of a copy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console, Group
from rich.text import Text

from cli.errors import CommandError
from cli.why.identifiers import Hash, IntentPrefix, parse_identifier
from cli.why.records import Attempt, Copy, UncopiedTrade
from cli.why.refusals import RULES, describe_violation
from cli.why.screen import build_copies
from cli.why.uncopied import build_uncopied, explain
from shared.domain.money import Side
from shared.messages.filters import FollowFilters
from shared.messages.intents import (
    IntentApproved,
    IntentRefused,
    Missing,
    OrderType,
)
from shared.messages.refusals import Refusal
from tests.builders import (
    LEADER,
    NOON,
    ORDER_HASH,
    OTHER_PROXY,
    PROXY,
    TOKEN,
    TRANSACTION,
    a_quote,
    an_intent,
    approved,
    facts,
    levels,
    market_details,
    refused,
    seconds,
    shares,
    usdc,
)

TRACE = "4b" * 16
OTHER_TRANSACTION = "0x" + "2b" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentRow:
    intent_id: str
    state: str = "approved"
    reason: str = ""
    judged_at: datetime = NOON
    traceparent: str | None = f"00-{TRACE}-{'ad' * 8}-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    order_hash: str = ORDER_HASH
    body: str = "the signed bytes"
    state: str = "confirmed"
    reason: str = ""
    limit_price: Decimal = Decimal("0.51")
    requested_shares: int = 0
    shares: int = shares(10)
    fee_usdc: int = usdc("0.1")
    usdc: int = usdc("5.05")
    last_reply: str = ""
    signed_at: datetime | None = NOON + seconds(1)
    posted_at: datetime | None = NOON + seconds(2)
    answered_at: datetime | None = NOON + seconds(3)
    confirmed_at: datetime | None = NOON + seconds(4)
    alerted_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeRow:
    matched_at: datetime = NOON
    status: str = "MINED"
    chain_state: str = "final"
    shares: int = shares(10)
    fee_usdc: int = usdc("0.1")
    usdc: int = usdc("5.05")
    transaction_hash: str = OTHER_TRANSACTION


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRow:
    source: str = "rtds"
    row_id: str = "row-1"
    shares: int = shares(100)
    seen_at: datetime = NOON
    filled_at: datetime | None = NOON - seconds(1)
    awaits_confirmation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRow:
    exit_id: str = "e1" * 16
    state: str = "open"
    reason: str = "empty_book"
    sold_shares: int = shares(4)
    shares: int | None = shares(10)
    attempts: int = 2
    next_attempt_at: datetime | None = NOON + seconds(30)
    expires_at: datetime = NOON + seconds(600)


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRow:
    from_shares: int = 0
    to_shares: int = shares(100)
    intended_at: datetime = NOON
    resent_of: str = ""
    resent_transaction: str | None = None


def an_attempt(
    verdict: IntentApproved | IntentRefused | None = None,
    *,
    order: OrderRow | None = None,
    trades: Sequence[TradeRow] = (),
    **row: Any,
) -> Attempt:
    verdict = verdict or approved()
    return Attempt(
        row=IntentRow(intent_id=verdict.intent_id, **row),
        verdict=verdict,
        order=order,
        trades=trades,
    )


def a_copy(*attempts: Attempt, **overrides: Any) -> Copy:
    base = Copy(attempts=attempts, chosen=attempts[-1], fills=[FillRow()])
    return replace(base, **overrides)


def render(parts: Sequence[Group | Text]) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return captured.get()


def read(copy: Copy) -> dict[str, str]:
    """The facts on the screen by name; of a repeated name the first."""
    found: dict[str, str] = {}
    for line in render(build_copies([copy])).splitlines():
        name, _, value = line.partition("  ")
        found.setdefault(name, value.strip())
    return found


def test_an_approved_copy_shows_all_stages() -> None:
    quote = a_quote(levels=levels(("0.50", 4), ("0.51", 6)), fetched_at=NOON - seconds(2))
    attempt = an_attempt(
        approved(quote=quote, facts=facts(spent_today_usdc=usdc(40), reserved_usdc=usdc(3))),
        order=OrderRow(),
        trades=[TradeRow()],
    )

    screen = read(a_copy(attempt))

    assert screen["leader"] == LEADER
    assert screen["traded"] == "BUY 100 shares at 0.5 USDC (50 USDC)"
    assert screen["market"] == "Will it rain?: Yes"
    assert screen["token"] == TOKEN
    assert screen["transaction"] == TRANSACTION
    assert screen["filled"] == "2026-01-01T11:59:59.000Z"
    assert screen["decided"] == "approved: FOK 5 USDC, limit price 0.51"
    assert screen["quote"] == "socket, 2 s old; best 0.5, worst 0.51 for 10 shares"
    assert screen["mode"] == "active, by version 7 of the controls"
    assert screen["balance"] == "1000 USDC"
    assert screen["reserved"] == "3 USDC for other copies"
    assert screen["spent in 24 h"] == "40 of 500 USDC, before this copy"
    assert screen["state"] == "confirmed"
    assert screen["order hash"] == ORDER_HASH
    assert screen["matched"] == "10 shares for 5.05 USDC (0.505 each), fee 0.1 USDC"
    assert screen["posted"] == "2026-01-01T12:00:02.000Z"
    assert screen["confirmed"] == "2026-01-01T12:00:04.000Z"
    assert screen["id in Jaeger"] == TRACE


def test_an_entry_shows_what_was_counted_of_each_limit_that_is_set() -> None:
    counted = facts(
        follower_daily_cap_usdc=usdc(9),
        follower_spent_today_usdc=usdc(1),
        market_daily_cap_usdc=usdc(8),
        market_spent_today_usdc=usdc(2),
        global_daily_cap_usdc=usdc(7),
        global_spent_today_usdc=usdc(3),
        max_open_positions=6,
        open_positions=4,
        max_entries_per_minute=5,
        recent_entries=0,
    )

    screen = read(a_copy(an_attempt(approved(facts=counted))))
    unlimited = read(a_copy(an_attempt(approved())))

    shown = {
        "by all follows": "1 of 9 USDC",
        "on the token": "2 of 8 USDC",
        "by everybody": "3 of 7 USDC",
        "positions": "4 of 6",
        "last minute": "0 of 5",
    }
    assert {name: screen[name] for name in shown} == shown
    assert not shown.keys() & unlimited.keys()


def test_every_source_is_shown_with_its_lag_and_every_trade_with_its_settlement() -> None:
    late = FillRow(source="chain", seen_at=NOON + seconds(3), awaits_confirmation=True)
    attempt = an_attempt(order=OrderRow(), trades=[TradeRow(), TradeRow(status="RETRYING")])

    lines = render(build_copies([a_copy(attempt, fills=[FillRow(), late])])).splitlines()

    [socket] = [line.split() for line in lines if line.startswith("rtds")]
    [chain] = [line.split() for line in lines if line.startswith("chain ")]
    assert socket[2:5] == ["1", "100", "no"]
    assert chain[2:5] == ["4", "100", "yes"]
    assert len([line for line in lines if OTHER_TRANSACTION in line]) == 2
    assert any("RETRYING" in line for line in lines)


def test_the_signed_bytes_are_never_shown() -> None:
    assert OrderRow().body not in render(build_copies([a_copy(an_attempt(order=OrderRow()))]))


def test_a_refused_copy_shows_the_rule_with_its_margin_and_that_no_order_exists() -> None:
    attempt = an_attempt(refused(), state="refused", reason="slippage_too_high", traceparent=None)

    screen = read(a_copy(attempt))

    assert screen["decided"] == "refused: slippage_too_high"
    assert screen["rule"].endswith(": 300 bps, at most 200 bps: 100 bps too much")
    assert screen["quote"] == "not kept with a refusal"
    assert screen["balance, caps"] == "not fetched: an earlier rule refused"
    assert screen["state"] == "none: the copy was refused"
    assert screen["id in Jaeger"] == "none: tracing was off"


def test_a_copy_shows_what_of_it_was_carried() -> None:
    intent = an_intent(usdc=usdc("1.25"), carried_usdc=usdc("0.75"))
    small = an_intent(usdc=usdc("1.25"))

    screen = read(a_copy(an_attempt(refused(intent=intent))))

    assert screen["sized"] == "1.25 USDC, 0.75 of it carried from earlier trades"
    assert "sized" not in read(a_copy(an_attempt(refused(intent=small))))


def test_a_copy_shows_the_equities_that_it_was_sized_by() -> None:
    intent = an_intent(sized_by_equity=True, leader_equity_usdc=usdc(10_000))

    screen = read(a_copy(an_attempt(refused(intent=intent))))

    assert screen["equity"] == "leader's 10000 USDC, follower's unknown USDC"


def test_an_approved_copy_without_an_order_says_where_it_may_be() -> None:
    assert "executor has not taken it up" in read(a_copy(an_attempt()))["state"]


def test_an_unknown_order_asks_for_an_operator_once_it_is_overdue() -> None:
    unknown = OrderRow(
        state="unknown",
        reason="no answer",
        last_reply="retry_later",
        shares=0,
        usdc=0,
        fee_usdc=0,
        answered_at=None,
        confirmed_at=None,
    )

    screen = read(a_copy(an_attempt(order=unknown)))
    overdue = read(a_copy(an_attempt(order=replace(unknown, alerted_at=NOON))))

    assert screen["state"] == "unknown: no answer"
    assert screen["last reply"] == "retry_later"
    assert screen["matched"] == "0 shares for 0 USDC, fee 0 USDC"
    assert screen["answered"] == screen["confirmed"] == "-"
    assert overdue["state"] == "unknown: NEEDS AN OPERATOR since 12:00:00: no answer"


def test_a_withdrawn_copy_was_not_signed() -> None:
    screen = read(a_copy(an_attempt(order=OrderRow(state="withdrawn", order_hash="withdrawn:1a"))))

    assert screen["order hash"] == "none was signed"
    assert "signed" not in screen
    assert screen["withdrawn"] == "2026-01-01T12:00:01.000Z"


def a_sale(name: str, **overrides: Any) -> Any:
    return an_intent(
        intent_id=name * 16, side=Side.SELL, leader_held_shares=shares(400), **overrides
    )


def an_exit(**overrides: Any) -> Copy:
    """The first attempt sold a part, the second found an empty book."""
    first = approved(
        a_sale("e1"),
        order_type=OrderType.FAK,
        usdc=0,
        shares=shares(10),
        facts=facts(held_shares=shares(40), exit_shares=shares(10), balance_shares=shares(40)),
    )
    second = refused(
        a_sale("e2", continues="e1" * 16),
        reason=Refusal.EMPTY_BOOK,
        value=Decimal(0),
        threshold=Decimal(1),
        facts=facts(exit_shares=shares(10), exit_sold_shares=shares(4), balance_shares=None),
    )
    order = OrderRow(requested_shares=shares(10), shares=shares(4), reason="a part")
    attempts = (
        an_attempt(first, order=order),
        an_attempt(second, judged_at=NOON + seconds(20), state="refused", reason="empty_book"),
    )
    return a_copy(*attempts, **{"exit": ExitRow()} | overrides)


def test_an_exit_shows_its_attempts_in_order() -> None:
    copy = an_exit()

    lines = render(build_copies([copy])).splitlines()
    screen = read(copy)

    attempts = [line.split() for line in lines if line.strip().startswith(("1 ", "2 "))]
    assert attempts == [
        ["1", "2026-01-01T12:00:00.000Z", "approved", "confirmed:", "a", "part", "4", "e1" * 16],
        ["2", "2026-01-01T12:00:20.000Z", "empty_book", "-", "-", "e2" * 16],
    ]
    assert screen["of his"] == "400 shares"
    assert screen["sold"] == "4 of 10 shares in 2 attempts"
    assert screen["next attempt"] == "2026-01-01T12:00:30.000Z"
    assert screen["decided"] == "refused: empty_book"
    assert screen["exit sells"] == "10 shares in all, 4 sold before"


def test_an_attempt_that_was_asked_for_is_shown_with_its_own_verdict_and_order() -> None:
    copy = an_exit()

    screen = read(replace(copy, chosen=copy.attempts[0]))

    assert screen["decided"] == "approved: FAK 10 shares, limit price 0.51"
    assert screen["follow holds"] == "40 shares"
    assert screen["to sell"] == "10 shares"


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (ExitRow(), "open: waits: empty_book"),
        (ExitRow(next_attempt_at=None, reason=""), "open: an attempt is under way"),
        (ExitRow(state="unsold"), "NEEDS AN OPERATOR: unsold: empty_book"),
        (ExitRow(state="done", reason=""), "done"),
    ],
)
def test_the_state_of_an_exit_heads_its_screen(row: ExitRow, state: str) -> None:
    assert f"for follower {PROXY}: exit {state}\n" in render(build_copies([an_exit(exit=row)]))


def test_an_exit_of_a_follow_that_held_nothing_has_no_record_of_its_own() -> None:
    assert "none recorded: the follow held nothing" in render(build_copies([an_exit(exit=None)]))


def test_copies_of_several_followers_are_a_table_and_those_of_one_are_shown_whole() -> None:
    other = an_attempt(
        refused(an_intent(intent_id="2a" * 16, proxy=OTHER_PROXY)), state="refused", reason="halted"
    )
    copies = [a_copy(an_attempt(order=OrderRow())), a_copy(other)]

    table = render(build_copies(copies))
    both = render(build_copies([copies[0], copies[0]]))

    lines = {line.split()[0]: line.split()[1:] for line in table.splitlines() if "0x" in line}
    assert lines[PROXY] == ["1a" * 16, "BUY", "order", "confirmed", "10", "5.05"]
    assert lines[OTHER_PROXY] == ["2a" * 16, "BUY", "refused", "halted", "0", "0"]
    assert "--follower" in table
    assert "Verdict" not in table
    assert both.count("Verdict\n") == 2


def test_what_others_wrote_is_neither_markup_nor_terminal_control() -> None:
    intent = an_intent(title="[bold]Rain[/x] \x1b[31m")

    assert "[bold]Rain[/x] \\x1b[31m: Yes" in read(a_copy(an_attempt(approved(intent))))["market"]


def test_every_refusal_has_a_rule() -> None:
    assert set(RULES) == set(Refusal)


@pytest.mark.parametrize(
    ("reason", "side", "value", "threshold", "measured"),
    [
        ("trade_too_old", "BUY", "61.5", "60", "61.5 s, at most 60 s: 1.5 s too much"),
        ("balance_too_low", "BUY", "1", "5.2", "1 USDC, at least 5.2 USDC: 4.2 USDC too little"),
        ("balance_too_low", "SELL", "0", "0.01", "0 shares, at least 0.01 shares: 0.01 shares"),
        ("awaits_entry", "SELL", "2", "0", "2 settlements, at most 0 settlements"),
        ("allowance_too_low", "BUY", "0", "5", "0 USDC, at least 5 USDC: 5 USDC too little"),
    ],
)
def test_a_violation_has_units(
    reason: str, side: str, value: str, threshold: str, measured: str
) -> None:
    violation = refused(
        an_intent(side=side), reason=reason, value=Decimal(value), threshold=Decimal(threshold)
    )

    assert f": {measured}" in describe_violation(violation)


@pytest.mark.parametrize(("reason", "side"), [("halted", "BUY"), ("allowance_too_low", "SELL")])
def test_a_rule_that_says_yes_or_no_shows_no_numbers(reason: str, side: str) -> None:
    violation = refused(an_intent(side=side), reason=reason, value=Decimal(0), threshold=Decimal(1))

    assert not any(character.isdigit() for character in describe_violation(violation))


def uncopied(*slices: SliceRow, followers: Sequence[str] = (), **fill: Any) -> UncopiedTrade:
    return UncopiedTrade(
        transaction_hash=TRANSACTION,
        fills=[FillRow(**fill)],
        slices=slices,
        controls_version=7,
        followers=followers,
    )


@pytest.mark.parametrize(
    ("trade", "reason"),
    [
        (uncopied(awaits_confirmation=True), "It awaits confirmation"),
        (uncopied(), "No slice of it was to be copied"),
        (uncopied(SliceRow()), "Nobody followed the leader at version 7"),
        (
            uncopied(SliceRow(), followers=[PROXY]),
            f"intended at 2026-01-01T12:00:00.000Z for {PROXY}, and preflight has judged none yet",
        ),
        (
            uncopied(SliceRow(resent_of="t", resent_transaction=OTHER_TRANSACTION)),
            f"100 shares of it were copied already, as transaction {OTHER_TRANSACTION}",
        ),
        (uncopied(SliceRow(resent_of="t")), "100 shares of it were copied already, as trade t"),
    ],
)
def test_a_trade_without_copies_says_why(trade: UncopiedTrade, reason: str) -> None:
    [sentence] = explain(trade)

    assert reason in sentence


def test_what_a_feed_reported_is_shown_of_a_trade_without_copies() -> None:
    text = render(build_uncopied(uncopied(awaits_confirmation=True)))

    assert all(word in text for word in (TRANSACTION, "rtds", "It awaits confirmation"))


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("1a2b3c4d", IntentPrefix("1a2b3c4d")),
        (" 1A2B3C4D ", IntentPrefix("1a2b3c4d")),
        ("1a" * 16, IntentPrefix("1a" * 16)),
        ("i20260131-1a2b3c4d", IntentPrefix("i20260131-1a2b3c4d")),
        ("i20260131-" + "1a" * 12, IntentPrefix("i20260131-" + "1a" * 12)),
        (TRANSACTION.upper().replace("0X", "0x"), Hash(TRANSACTION)),
    ],
)
def test_an_id_is_recognised(text: str, identifier: object) -> None:
    assert parse_identifier(text) == identifier


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1a2b3c4",
        "1a" * 17,
        "not-hexadecimal",
        "i20260131-1a2b3c4",
        PROXY,
        TRANSACTION + "0",
        "7a" * 32,
    ],
)
def test_anything_else_is_no_id(text: str) -> None:
    with pytest.raises(CommandError, match="is no id"):
        parse_identifier(text)


def test_a_prefix_is_a_range_of_ids() -> None:
    prefix = IntentPrefix("i20260131-1a2b3c4d")

    assert prefix.first_id <= "i20260131-1a2b3c4d" + "0" * 16
    assert "i20260131-1a2b3c4d" + "f" * 16 <= prefix.last_id < "i20260131-1a2b3c4e"


def test_a_counter_copy_shows_the_leaders_token_and_ours() -> None:
    intent = an_intent(
        token_id="77",
        leader_token_id=TOKEN,
        leader_price=Decimal("0.75"),
        leader_usdc=usdc(250),
        outcome="No",
    )

    shown = render(build_copies([a_copy(an_attempt(approved(intent)))]))

    assert "BUY 100 shares at 0.25 USDC (25 USDC)" in shown
    assert "trade so far" in shown
    assert "250 USDC" in shown
    assert TOKEN in shown
    assert "the complementary outcome No, at his price 0.75 USDC" in shown
    assert "our token" in shown
    assert "77" in shown


def test_a_counter_copy_without_a_known_complement_says_so() -> None:
    intent = an_intent(leader_token_id=TOKEN, outcome="", complement_missing=Missing.UNAVAILABLE)
    verdict = refused(intent, reason=Refusal.COMPLEMENT_UNAVAILABLE)

    shown = render(build_copies([a_copy(an_attempt(verdict))]))

    assert "the complementary outcome, which is not known" in shown
    assert "our token" not in shown


def test_a_filtered_copy_shows_the_filters_and_what_the_catalogue_said() -> None:
    judged_by = facts(
        filters=FollowFilters(min_liquidity_usdc=usdc(50_000), tags=("politics",)),
        market=market_details(),
    )
    verdict = refused(
        reason=Refusal.LIQUIDITY_FILTERED,
        value=Decimal(20_000),
        threshold=Decimal(50_000),
        facts=judged_by,
    )

    shown = render(build_copies([a_copy(an_attempt(verdict))]))

    assert "--min-liquidity 50000 --tag politics" in shown
    assert "politics, us-elections" in shown
    assert "20000 USDC" in shown
    assert market_details().condition_id in shown
    assert (
        "liquidity of the market: 20000 USDC, at least 50000 USDC: 30000 USDC too little" in shown
    )


def test_filters_are_shown_also_where_the_catalogue_was_not_asked() -> None:
    judged_by = facts(filters=FollowFilters(min_leader_usdc=usdc(100)))

    shown = render(build_copies([a_copy(an_attempt(approved(facts=judged_by)))]))

    assert "--min-leader 100" in shown
    assert "liquidity" not in shown
