"""Every metric is declared once, has a bounded number of series, and is served as it was meant."""

import inspect
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

from shared.observe import metrics
from shared.observe.labels import bounded

LEADER = "0x1234567890AbcdEF1234567890aBcdef12345678"


Happened = tuple[Callable[[], None], str, dict[str, str]]

COUNTED: list[tuple[Happened, float]] = [
    (
        (
            lambda: metrics.message_handled("quotes", 0.02, "handled"),
            "message_seconds_count",
            {"topic": "quotes", "outcome": "handled"},
        ),
        1,
    ),
    (
        (
            lambda: metrics.message_parked("quotes", "Invalid"),
            "messages_parked_total",
            {"topic": "quotes", "reason": "Invalid"},
        ),
        1,
    ),
    (
        (
            lambda: metrics.message_redriven("quotes"),
            "messages_redriven_total",
            {"topic": "quotes"},
        ),
        1,
    ),
    ((lambda: metrics.retrying("quotes"), "message_retries_total", {"topic": "quotes"}), 1),
    (
        (
            lambda: metrics.batch_written("save_intents", 7, 0.01),
            "rows_written_total",
            {"write": "save_intents"},
        ),
        7,
    ),
    (
        (
            lambda: metrics.batch_written("save_intents", 7, 0.01),
            "write_seconds_count",
            {"write": "save_intents"},
        ),
        1,
    ),
    (
        (
            lambda: metrics.feed_frame("rtds", "data"),
            "feed_frames_total",
            {"feed": "rtds", "kind": "data"},
        ),
        1,
    ),
    (
        (
            lambda: metrics.cache_asked("quotes", "shared"),
            "cache_asked_total",
            {"cache": "quotes", "result": "shared"},
        ),
        1,
    ),
    ((lambda: metrics.refusal("slippage"), "refusals_total", {"reason": "slippage"}), 1),
    ((lambda: metrics.order_posted("matched"), "orders_posted_total", {"outcome": "matched"}), 1),
    ((lambda: metrics.trade_doubted("resent"), "trades_doubted_total", {"what": "resent"}), 1),
    ((lambda: metrics.copy_outcome("confirmed"), "copies_total", {"state": "confirmed"}), 1),
    (
        (lambda: metrics.stage_latency("posted", 0.03), "stage_seconds_count", {"stage": "posted"}),
        1,
    ),
    ((lambda: metrics.transaction_reached("mined"), "transactions_total", {"state": "mined"}), 1),
]

SHOWN: list[tuple[Happened, float]] = [
    (
        (
            lambda: metrics.messages_unfinished("quotes", 63, 12),
            "messages_unfinished",
            {"topic": "quotes", "partition": "63"},
        ),
        12,
    ),
    ((lambda: metrics.feed_silent("rtds", 4.5), "feed_silent_seconds", {"feed": "rtds"}), 4.5),
    ((lambda: metrics.keys_parked(4), "keys_parked", {}), 4),
    ((lambda: metrics.orders_unknown(3), "orders_unknown", {}), 3),
    ((lambda: metrics.orders_alerted(2), "orders_alerted", {}), 2),
    ((lambda: metrics.trades_unsettled(1), "trades_unsettled", {}), 1),
    ((lambda: metrics.debts_outstanding(1_500_000), "debts_outstanding_micros", {}), 1_500_000),
    ((lambda: metrics.ledger_drift("usdc", -5), "ledger_drift_micros", {"what": "usdc"}), -5),
    (
        (
            lambda: metrics.build_info("pricer", "0.1.0"),
            "build_info",
            {"service": "pricer", "version": "0.1.0"},
        ),
        1,
    ),
]


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"slipstream_{name}", labels) or 0.0


@pytest.mark.parametrize(
    ("happened", "by"), COUNTED, ids=lambda one: one[1] if isinstance(one, tuple) else ""
)
def test_what_happens_is_counted(happened: Happened, by: float) -> None:
    happen, sample, labels = happened
    before = value(sample, **labels)

    happen()

    assert value(sample, **labels) - before == by


@pytest.mark.parametrize(
    ("happened", "shown"), SHOWN, ids=lambda one: one[1] if isinstance(one, tuple) else ""
)
def test_what_is_the_case_is_shown(happened: Happened, shown: float) -> None:
    happen, sample, labels = happened

    happen()

    assert value(sample, **labels) == shown


def test_an_address_never_becomes_a_label() -> None:
    before = value("refusals_total", reason="other")

    metrics.refusal(LEADER)

    assert value("refusals_total", reason="other") == before + 1
    assert value("refusals_total", reason=LEADER) == 0


@pytest.mark.parametrize(
    "word",
    [
        "copy-intents",
        "InvalidMessage",
        "slippage",
        "REFUSED",
        "0",
        "63",
        "0.1.0",
        "0.1.0.dev3",
        "usdc",
    ],
)
def test_words_small_numbers_and_versions_may_be_labels(word: str) -> None:
    assert bounded(word) == word


TOKEN_ID = "71321045679252212594626385532706912750"


@pytest.mark.parametrize(
    "identifier",
    ["", LEADER, "a" * 49, TOKEN_ID, "9f8e7d6c5b4a39281706", "two words", "12345", "a\nb"],
)
def test_what_could_be_an_id_may_not(identifier: str) -> None:
    assert bounded(identifier) == "other"


@given(st.integers(min_value=0, max_value=2**256 - 1))
def test_no_token_id_or_hash_is_a_label(number: int) -> None:
    assert bounded(f"0x{number:064x}") == "other"
    assert bounded(number) == ("other" if number > 9_999 else str(number))


def test_the_series_of_one_metric_are_bounded() -> None:
    declaration = metrics.Declaration(
        name="n", kind="counter", unit="", meaning="m", labels=("word",)
    )
    counter = metrics.Metric(Counter("n", "m", ["word"], registry=CollectorRegistry()), declaration)

    for number in range(metrics.MOST_LABEL_SETS + 10):
        counter.of(f"w{number // 100}.{number % 100}").inc()

    assert counter.of("one-too-many") is counter.of("another")
    assert counter.of("w0.1") is not counter.of("another")


def test_every_served_metric_is_declared_and_in_the_table() -> None:
    served = {
        family.name
        for family in metrics.REGISTRY.collect()
        if family.name.startswith("slipstream_")
    }
    declared = {declaration.name.removesuffix("_total") for declaration in metrics.declarations()}

    assert served == declared
    assert all(f"`{declaration.name}`" in metrics.table() for declaration in metrics.declarations())
    assert all(declaration.meaning for declaration in metrics.declarations())


def test_the_figures_of_the_process_are_served_however_often_they_are_asked_for() -> None:
    metrics.process_figures()
    metrics.process_figures()

    assert metrics.REGISTRY.get_sample_value("process_cpu_seconds_total") is not None
    assert (
        metrics.REGISTRY.get_sample_value("python_gc_collections_total", {"generation": "0"})
        is not None
    )


def test_every_event_says_what_it_means() -> None:
    events = [
        value
        for name, value in vars(metrics).items()
        if inspect.isfunction(value) and not name.startswith("_")
    ]

    assert all(event.__doc__ for event in events if event.__module__ == metrics.__name__)
