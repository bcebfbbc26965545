"""Builds what `slipstream why` prints about copies."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.console import Group
from rich.text import Text

from cli.follow_options import list_filters
from cli.formatting import (
    UNSOLD_EXIT,
    Facts,
    build_facts,
    build_table,
    format_amount,
    format_known,
    format_number,
    format_order_state,
    format_time,
)
from cli.why.leader_trade import list_leader_trade
from cli.why.records import Attempt, Copy
from cli.why.refusals import describe_violation
from shared.domain.money import Side, as_decimal
from shared.messages.intents import (
    Intent,
    IntentApproved,
    IntentRefused,
    Quote,
    VerdictFacts,
)
from shared.observe.tracing import parse_trace_id

NOT_REACHED = "not fetched: an earlier rule refused"


def build_copies(copies: Sequence[Copy]) -> list[Group | Text]:
    """The details of each copy where all are of one follower, else a table of them."""
    if len({copy.chosen.intent.proxy for copy in copies}) == 1:
        return [part for copy in copies for part in build_copy(copy)]
    rows = [_build_copy_row(copy) for copy in copies]
    columns = ("follower", "intent", "side", "state", "reason", ">shares", ">USDC")
    return [
        build_table(f"{len(copies)} copies", columns, sorted(rows)),
        Text("The details of one: --follower ADDRESS, or its intent id instead of the hash."),
    ]


def build_copy(copy: Copy) -> list[Group | Text]:
    """All that is recorded of one copy, with the verdict and the order of its chosen attempt."""
    attempt = copy.chosen
    side = attempt.intent.side.value
    title = f"{side} copy {attempt.row.intent_id} for follower {attempt.intent.proxy}: "
    parts: list[Group | Text] = [
        Text(title + ": ".join(filter(None, _describe_state(copy))), style="bold"),
        build_facts("Leader's trade", list_leader_trade(attempt)),
        build_fills_table(copy.fills),
        build_facts("Verdict", _list_verdict(attempt)),
        build_facts("Order", _list_order(attempt)),
    ]
    if attempt.trades:
        parts.append(_build_trades_table(attempt.trades))
    if attempt.intent.side is Side.SELL:
        parts.append(build_facts("Exit", _list_exit(copy.exit)))
        parts.append(_build_attempts_table(copy.attempts))
    trace = parse_trace_id(attempt.row.traceparent) or "none: tracing was off"
    return [*parts, build_facts("Trace", [("id in Jaeger", trace)])]


def build_fills_table(fills: Sequence[Any]) -> Group:
    """The rows of a leader's trade by source, with how late each was seen."""
    return build_table(
        "Reported by",
        ("source", "seen", ">s after the fill", ">shares", "awaited confirmation"),
        [
            (
                fill.source,
                format_time(fill.seen_at),
                _format_seconds(fill.filled_at, fill.seen_at),
                format_amount(fill.shares),
                "yes" if fill.awaits_confirmation else "no",
            )
            for fill in fills
        ],
    )


def _build_copy_row(copy: Copy) -> tuple[str, ...]:
    attempt = copy.chosen
    orders = [each.order for each in copy.attempts if each.order is not None]
    state, reason = _describe_state(copy)
    return (
        attempt.intent.proxy,
        attempt.row.intent_id,
        attempt.intent.side.value,
        state,
        reason,
        format_amount(sum(order.shares for order in orders)),
        format_amount(sum(order.usdc for order in orders)),
    )


def _describe_state(copy: Copy) -> tuple[str, str]:
    """The state of a copy with its reason: of the exit, else of the order, else of the verdict."""
    if copy.exit is not None:
        return f"exit {_format_exit_state(copy.exit)}", copy.exit.reason
    order = copy.chosen.order
    if order is not None:
        return f"order {format_order_state(order)}", order.reason
    return copy.chosen.row.state, copy.chosen.row.reason


def _list_verdict(attempt: Attempt) -> Facts:
    verdict = attempt.verdict
    facts = verdict.facts
    return [
        *_list_size(verdict.intent),
        *_list_decision(verdict),
        ("judged", format_time(facts.judged_at)),
        ("mode", f"{facts.mode}, by version {facts.controls_version} of the controls"),
        ("max slippage", f"{format_number(facts.max_slippage_bps)} bps"),
        *_list_filters(facts),
        *(_list_entry_funds(facts) if verdict.intent.side is Side.BUY else _list_exit_funds(facts)),
        ("balance read", format_time(facts.balance_at)),
    ]


def _list_filters(facts: VerdictFacts) -> Facts:
    """The follow's filters, and what the venue's catalogue said where they need it."""
    filters = facts.filters
    if filters is None:
        return []
    terms = " ".join(list_filters(filters))
    details = facts.market
    if details is None:
        return [("filters", terms)]
    tags = "not known" if details.tags is None else ", ".join(details.tags) or "none"
    return [
        ("filters", terms),
        ("condition", details.condition_id),
        ("tags", tags),
        ("liquidity", f"{format_known(details.liquidity_usdc)} USDC"),
        ("announced end", format_time(details.ends_at)),
    ]


def _list_size(intent: Intent) -> Facts:
    """What an entry was sized to, where that is not by its own trade alone."""
    facts: Facts = []
    if intent.carried_usdc:
        usdc, carried = format_amount(intent.usdc), format_amount(intent.carried_usdc)
        facts.append(("sized", f"{usdc} USDC, {carried} of it carried from earlier trades"))
    if intent.sized_by_equity:
        leader, follower = map(
            format_known, (intent.leader_equity_usdc, intent.follower_equity_usdc)
        )
        facts.append(("equity", f"leader's {leader} USDC, follower's {follower} USDC"))
    return facts


def _list_decision(verdict: IntentApproved | IntentRefused) -> Facts:
    if isinstance(verdict, IntentRefused):
        return [
            ("decided", f"refused: {verdict.reason.value}"),
            ("rule", describe_violation(verdict)),
            ("quote", "not kept with a refusal"),
        ]
    size = (
        f"{format_amount(verdict.usdc)} USDC"
        if verdict.intent.side is Side.BUY
        else f"{format_amount(verdict.shares)} shares"
    )
    terms = f"{verdict.order_type.value} {size}, limit price {format_number(verdict.limit_price)}"
    return [
        ("decided", f"approved: {terms}"),
        ("to be sent by", format_time(verdict.expires_at)),
        ("quote", _describe_quote(verdict.quote, verdict.facts.judged_at)),
    ]


def _describe_quote(quote: Quote, judged_at: datetime) -> str:
    return (
        f"{quote.source.value}, {_format_seconds(quote.fetched_at, judged_at)} s old; "
        f"best {format_number(quote.best)}, worst {format_number(quote.worst)} for "
        f"{format_amount(quote.shares)} shares" + ("" if quote.complete else " (all of the book)")
    )


def _list_entry_funds(facts: VerdictFacts) -> Facts:
    caps = [
        (
            "spent in 24 h",
            f"{format_amount(facts.spent_today_usdc)} of {format_amount(facts.daily_cap_usdc)} "
            "USDC, before this copy",
        )
    ]
    shared = (
        ("by all follows", facts.follower_spent_today_usdc, facts.follower_daily_cap_usdc),
        ("on the token", facts.market_spent_today_usdc, facts.market_daily_cap_usdc),
        ("by everybody", facts.global_spent_today_usdc, facts.global_daily_cap_usdc),
    )
    caps += [
        (name, f"{format_amount(spent or 0)} of {format_amount(cap)} USDC")
        for name, spent, cap in shared
        if cap is not None
    ]
    if facts.max_open_positions is not None:
        caps.append(("positions", f"{facts.open_positions} of {facts.max_open_positions}"))
    if facts.max_entries_per_minute is not None:
        caps.append(("last minute", f"{facts.recent_entries} of {facts.max_entries_per_minute}"))
    if facts.balance_usdc is None:
        return [("balance, caps", NOT_REACHED)]
    return [
        ("balance", f"{format_known(facts.balance_usdc)} USDC"),
        ("reserved", f"{format_amount(facts.reserved_usdc)} USDC for other copies"),
        ("allowance", f"{format_known(facts.allowance_usdc)} USDC"),
        *caps,
    ]


def _list_exit_funds(facts: VerdictFacts) -> Facts:
    balance = (
        NOT_REACHED
        if facts.balance_shares is None
        else f"{format_amount(facts.balance_shares)} shares"
    )
    return [
        ("follow holds", f"{format_amount(facts.held_shares)} shares"),
        ("reserved", f"{format_amount(facts.reserved_shares)} shares for its other exits"),
        (
            "exit sells",
            f"{format_known(facts.exit_shares)} shares in all, "
            f"{format_amount(facts.exit_sold_shares)} sold before",
        ),
        ("balance", balance),
    ]


def _list_order(attempt: Attempt) -> Facts:
    order = attempt.order
    if order is None and isinstance(attempt.verdict, IntentRefused):
        return [("state", "none: the copy was refused")]
    if order is None:
        return [
            (
                "state",
                "none recorded: executor has not taken it up (see `slipstream status` and "
                "`slipstream dead-letters list`)",
            )
        ]
    signed = order.order_hash.startswith("0x")
    asked = [("to sell", f"{format_amount(order.requested_shares)} shares")]
    return [
        ("state", ": ".join(filter(None, (format_order_state(order), order.reason)))),
        *([("last reply", order.last_reply)] if order.last_reply else []),
        ("order hash", order.order_hash if signed else "none was signed"),
        ("limit price", format_number(order.limit_price)),
        *(asked if order.requested_shares else []),
        (
            "matched",
            f"{format_amount(order.shares)} shares for {format_amount(order.usdc)} USDC"
            f"{_format_average(order)}, fee {format_amount(order.fee_usdc)} USDC",
        ),
        ("signed" if signed else "withdrawn", format_time(order.signed_at)),
        ("posted", format_time(order.posted_at)),
        ("answered", format_time(order.answered_at)),
        ("confirmed", format_time(order.confirmed_at)),
    ]


def _build_trades_table(trades: Sequence[Any]) -> Group:
    return build_table(
        "Trades of the order",
        ("matched", "status", "chain", ">shares", ">USDC", ">fee", "transaction"),
        [
            (
                format_time(trade.matched_at),
                trade.status,
                trade.chain_state or "-",
                format_amount(trade.shares),
                format_amount(trade.usdc),
                format_amount(trade.fee_usdc),
                trade.transaction_hash or "-",
            )
            for trade in trades
        ],
    )


def _list_exit(row: Any | None) -> Facts:
    if row is None:
        return [("state", "none recorded: the follow held nothing of it and awaited nothing")]
    return [
        ("exit", row.exit_id),
        ("state", ": ".join(filter(None, (_format_exit_state(row), row.reason)))),
        (
            "sold",
            f"{format_amount(row.sold_shares)} of {format_known(row.shares)} shares "
            f"in {row.attempts} attempts",
        ),
        ("next attempt", format_time(row.next_attempt_at)),
        ("expires", format_time(row.expires_at)),
    ]


def _format_exit_state(row: Any) -> str:
    if row.state == "open":
        return "open: an attempt is under way" if row.next_attempt_at is None else "open: waits"
    return UNSOLD_EXIT if row.state == "unsold" else str(row.state)


def _build_attempts_table(attempts: Sequence[Attempt]) -> Group:
    return build_table(
        "Attempts",
        (">no.", "judged", "verdict", "order", ">sold", "intent"),
        [(str(number), *_build_attempt_row(each)) for number, each in enumerate(attempts, 1)],
    )


def _build_attempt_row(attempt: Attempt) -> tuple[str, ...]:
    verdict, order = attempt.verdict, attempt.order
    decided = verdict.reason.value if isinstance(verdict, IntentRefused) else "approved"
    became = (
        "-" if order is None else ": ".join(filter(None, (format_order_state(order), order.reason)))
    )
    sold = "-" if order is None else format_amount(order.shares)
    return format_time(attempt.row.judged_at), decided, became, sold, attempt.row.intent_id


def _format_seconds(since: datetime | None, till: datetime) -> str:
    """The seconds between the two, with milliseconds; a dash where the first is not known."""
    if since is None:
        return "-"
    span = till - since
    microseconds = (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds
    return format_number(as_decimal(microseconds).quantize(Decimal("0.001")))


def _format_average(order: Any) -> str:
    """The average price, where something was matched."""
    if not order.shares:
        return ""
    price = (Decimal(order.usdc) / order.shares).quantize(Decimal("0.0001"))
    return f" ({format_number(price)} each)"
