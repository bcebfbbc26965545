"""`slipstream status` shows the rows of the services' tables."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from rich.console import Console

from cli.formatting import format_milliseconds
from cli.status import Status, build_tables
from cli.topics import describe_differences
from shared.domain.follows import GLOBAL, Mode
from shared.streams.topics import Alter, Create, Plan, Refuse
from tests.builders import NOON, ORDER_HASH, PROXY, controls, usdc


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiesRow:
    state: str = "refused"
    reason: str = "halted"
    n: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    intent_id: str = ORDER_HASH
    proxy: str = PROXY
    side: str = "BUY"
    state: str = "unknown"
    reason: str = "no answer"
    signed_at: object = NOON
    alerted_at: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    name: str = "seen to posted"
    n: int = 7
    p50: int = 1_260
    p95: int = 20_000
    p99: int = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRow:
    proxy: str = PROXY
    tokens: int = 2
    shares: int = usdc(10)
    cash_usdc: int = -usdc("5.25")
    trades: int = 4


@dataclass
class ExitRow:
    exit_id: str = "e" * 32
    proxy: str = PROXY
    state: str = "open"
    shares: int | None = 10_000_000
    sold_shares: int = 2_500_000
    attempts: int = 3
    reason: str = "empty_book"
    is_under_way: bool = False


@dataclass
class DelayedEntryRow:
    intent_id: str = "delayed-1"
    proxy: str = PROXY
    due_at: datetime = NOON + timedelta(seconds=30)
    expires_at: datetime = NOON + timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltedOperatorRow:
    operator: str = PROXY
    halted_at: datetime = NOON
    halted_because: str = "nonce 7 was used by another transaction"


NOTHING = Status(
    controls=controls(),
    copies=[],
    open_orders=[],
    exits=[],
    delayed_entries=[],
    positions=[],
    debts=[],
    halted_operators=[],
    latencies=[],
)


def render(status: Status) -> str:
    console = Console(width=250)
    with console.capture() as captured:
        for table in build_tables(status, now=NOON + timedelta(seconds=9)):
            console.print(table)
    return captured.get()


def test_every_table_shows_its_rows() -> None:
    text = render(
        Status(
            controls=controls(modes={GLOBAL: Mode.HALTED}),
            copies=[CopiesRow()],
            open_orders=[OrderRow()],
            exits=[],
            delayed_entries=[DelayedEntryRow()],
            positions=[PositionRow()],
            debts=[],
            halted_operators=[],
            latencies=[LatencyRow()],
        )
    )

    assert all(
        word in text
        for word in (
            "1 follows of 1 leaders",
            "halted",
            "unknown",
            "no answer",
            "-5.25",
            "seen to posted",
            "1.3",
            "wait to be judged again",
            "delayed-1",
            " 21 ",
            " 51 ",
        )
    )
    assert "Debts: none" in text


def test_an_order_that_was_not_resolved_in_time_asks_for_an_operator() -> None:
    status = replace(NOTHING, open_orders=[OrderRow(alerted_at=NOON)])

    assert "unknown: NEEDS AN OPERATOR since 12:00:00" in render(status)
    assert "NEEDS AN OPERATOR" not in render(replace(status, open_orders=[OrderRow()]))


def test_a_halted_operator_wallet_asks_for_an_operator() -> None:
    status = replace(NOTHING, halted_operators=[HaltedOperatorRow()])

    assert "nonce 7 was used by another transaction" in render(status)
    assert "Halted operator wallets: none" in render(replace(status, halted_operators=[]))


def test_an_exit_that_is_unsold_asks_for_an_operator_and_one_that_waits_does_not() -> None:
    status = replace(NOTHING, exits=[ExitRow(state="unsold", shares=None)])

    assert "NEEDS AN OPERATOR: unsold" in render(status)
    assert "unknown" in render(status)
    waiting = render(replace(status, exits=[ExitRow()]))
    assert "NEEDS AN OPERATOR" not in waiting
    assert all(word in waiting for word in ("waits", "2.5", "10", "empty_book"))
    missed = render(replace(status, exits=[ExitRow(state="missed", reason="trade_too_old")]))
    assert "made good by what the leader holds" in missed
    assert "NEEDS AN OPERATOR" not in missed
    lost = render(replace(status, exits=[ExitRow(is_under_way=True)]))
    assert "NEEDS AN OPERATOR: no report of its order" in lost


def test_a_new_system_shows_empty_tables() -> None:
    text = render(NOTHING)

    assert text.count(": none") == 9


def test_latency_is_shown_in_milliseconds() -> None:
    assert format_milliseconds(1_234) == "1.2"
    assert format_milliseconds(0) == "0.0"


def test_every_difference_of_a_topic_is_described() -> None:
    plan = Plan(
        creations=(Create(name="debts", partitions=64, replication_factor=1, configs={}),),
        alterations=(Alter(name="quotes", configs={}, changed={"retention.ms": "1"}),),
        refusals=(Refuse(name="quotes", why="has 3 partitions"),),
    )

    assert describe_differences(plan) == {
        "debts": "missing",
        "quotes": "to be set: retention.ms=1; has 3 partitions",
    }
