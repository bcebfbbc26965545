"""What is shown of the system follows from its rows."""

from dataclasses import dataclass, replace
from datetime import timedelta

from rich.console import Console

from cli.status import Status, milliseconds, tables
from cli.topics import differences_of
from shared.domain.follows import GLOBAL, Mode
from shared.streams.topics import Alter, Create, Plan, Refuse
from tests.builders import NOON, ORDER_HASH, PROXY, controls, usdc


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    state: str = "refused"
    reason: str = "halted"
    n: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    intent_id: str = ORDER_HASH
    proxy: str = PROXY
    side: str = "BUY"
    state: str = "unknown"
    reason: str = "no answer"
    signed_at: object = NOON
    alerted_at: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    name: str = "seen to posted"
    n: int = 7
    p50: int = 1_260
    p95: int = 20_000
    p99: int = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    proxy: str = PROXY
    tokens: int = 2
    shares: int = usdc(10)
    cash_usdc: int = -usdc("5.25")
    trades: int = 4


def shown(status: Status) -> str:
    console = Console(width=250)
    with console.capture() as captured:
        for table in tables(status, now=NOON + timedelta(seconds=9)):
            console.print(table)
    return captured.get()


def test_everything_is_shown() -> None:
    text = shown(
        Status(
            controls=controls(modes={GLOBAL: Mode.HALTED}),
            copies=[Copied()],
            open_orders=[Open()],
            positions=[Position()],
            debts=[],
            latencies=[Span()],
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
        )
    )
    assert "Debts: none" in text


def test_an_order_that_was_not_resolved_in_time_calls_for_a_human() -> None:
    nothing = Status(
        controls=controls(),
        copies=[],
        open_orders=[Open(alerted_at=NOON)],
        positions=[],
        debts=[],
        latencies=[],
    )

    assert "unknown: NEEDS YOU since 12:00:00" in shown(nothing)
    assert "NEEDS YOU" not in shown(replace(nothing, open_orders=[Open()]))


def test_a_new_system_shows_that_there_is_nothing() -> None:
    text = shown(
        Status(controls=controls(), copies=[], open_orders=[], positions=[], debts=[], latencies=[])
    )

    assert text.count(": none") == 6


def test_latency_is_shown_in_milliseconds() -> None:
    assert milliseconds(1_234) == "1.2"
    assert milliseconds(0) == "0.0"


def test_what_differs_of_a_topic_is_told_whole() -> None:
    plan = Plan(
        creations=(Create(name="debts", partitions=64, replication_factor=1, configs={}),),
        alterations=(Alter(name="quotes", configs={}, changed={"retention.ms": "1"}),),
        refusals=(Refuse(name="quotes", why="has 3 partitions"),),
    )

    assert differences_of(plan) == {
        "debts": "missing",
        "quotes": "to be set: retention.ms=1; has 3 partitions",
    }
