"""Every metric is declared once, has a bounded number of series, and is served as declared."""

import inspect
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

from shared.domain.errors import InvalidMessage, UnknownVersion
from shared.messages.orders import OrderState
from shared.messages.refusals import Refusal
from shared.messages.transactions import TransactionState
from shared.observe import metrics
from shared.observe.instruments import (
    MAX_LABEL_SETS,
    REGISTRY,
    Declaration,
    Label,
    Metric,
    Subject,
)
from shared.observe.labels import (
    AmbiguousTrade,
    Cache,
    CacheResult,
    Feed,
    FrameKind,
    Stage,
    bounded,
)
from shared.polymarket.replies import (
    Accepted,
    Duplicated,
    Killed,
    Reason,
    Rejected,
    Reply,
    ReplyLost,
    RetryLater,
)
from shared.polymarket.request_families import Family

LEADER = "0x1234567890AbcdEF1234567890aBcdef12345678"


Event = tuple[Callable[[], None], str, dict[str, str]]

COUNTED: list[tuple[Event, float]] = [
    (
        (
            lambda: metrics.message_handled("quotes", 0.02, metrics.MessageOutcome.HANDLED),
            "message_seconds_count",
            {"topic": "quotes", "outcome": "handled"},
        ),
        1,
    ),
    (
        (
            lambda: metrics.message_parked("quotes", InvalidMessage("malformed")),
            "messages_parked_total",
            {"topic": "quotes", "reason": "InvalidMessage"},
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
    ((lambda: metrics.message_retried("quotes"), "message_retries_total", {"topic": "quotes"}), 1),
    (
        (
            lambda: metrics.message_parked("quotes", UnknownVersion("version 9")),
            "messages_parked_total",
            {"topic": "quotes", "reason": "UnknownVersion"},
        ),
        1,
    ),
    (
        (
            lambda: metrics.feed_frame(Feed.RTDS, FrameKind.NO_TRADE),
            "feed_frames_total",
            {"feed": "rtds", "kind": "no_trade"},
        ),
        1,
    ),
    (
        (
            lambda: metrics.cache_requested(Cache.QUOTES, CacheResult.SHARED),
            "cache_requests_total",
            {"cache": "quotes", "result": "shared"},
        ),
        1,
    ),
    (
        (
            lambda: metrics.copy_refused(Refusal.SLIPPAGE_TOO_HIGH),
            "refusals_total",
            {"reason": "slippage_too_high"},
        ),
        1,
    ),
    (
        (
            lambda: metrics.trade_ambiguous(AmbiguousTrade.REPORTED_AGAIN),
            "leader_trades_ambiguous_total",
            {"decision": "reported_again"},
        ),
        1,
    ),
    (
        (
            lambda: metrics.copy_state_reached(OrderState.CONFIRMED),
            "copies_total",
            {"state": "confirmed"},
        ),
        1,
    ),
    (
        (
            lambda: metrics.stage_reached(Stage.SIGNED, 0.03),
            "stage_seconds_count",
            {"stage": "signed"},
        ),
        1,
    ),
    (
        (
            lambda: metrics.venue_limit_reached(Family.TRADES),
            "venue_limits_reached_total",
            {"family": "trades"},
        ),
        1,
    ),
    (
        (
            lambda: metrics.venue_requests_waiting(Family.API_KEYS, by=1),
            "venue_requests_waiting",
            {"family": "api_keys"},
        ),
        1,
    ),
    (
        (
            lambda: metrics.transaction_state_reached(TransactionState.MINED),
            "transactions_total",
            {"state": "mined"},
        ),
        1,
    ),
]

SHOWN: list[tuple[Event, float]] = [
    (
        (
            lambda: metrics.messages_unfinished("quotes", 63, 12),
            "messages_unfinished",
            {"topic": "quotes", "partition": "63"},
        ),
        12,
    ),
    ((lambda: metrics.feed_silent(Feed.RTDS, 4.5), "feed_silent_seconds", {"feed": "rtds"}), 4.5),
    ((lambda: metrics.blocked_keys(4), "blocked_keys", {}), 4),
    ((lambda: metrics.api_keys_missing(9), "api_keys_missing", {}), 9),
    ((lambda: metrics.orders_unknown(3), "orders_unknown", {}), 3),
    ((lambda: metrics.orders_alerted(2), "orders_alerted", {}), 2),
    ((lambda: metrics.trades_unsettled(1), "leader_trades_unsettled", {}), 1),
    ((lambda: metrics.controls_version(7), "controls_version", {}), 7),
    ((lambda: metrics.debts_outstanding(1_500_000), "debts_outstanding_micros", {}), 1_500_000),
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
    return REGISTRY.get_sample_value(f"slipstream_{name}", labels) or 0.0


@pytest.mark.parametrize(
    ("event", "by"), COUNTED, ids=lambda one: one[1] if isinstance(one, tuple) else ""
)
def test_each_event_adds_to_its_metric(event: Event, by: float) -> None:
    record, sample, labels = event
    before = value(sample, **labels)

    record()

    assert value(sample, **labels) - before == by


@pytest.mark.parametrize(
    ("event", "shown"), SHOWN, ids=lambda one: one[1] if isinstance(one, tuple) else ""
)
def test_each_gauge_shows_the_value_that_was_set(event: Event, shown: float) -> None:
    record, sample, labels = event

    record()

    assert value(sample, **labels) == shown


def test_an_address_never_becomes_a_label() -> None:
    before = value("messages_redriven_total", topic="other")

    metrics.message_redriven(LEADER)

    assert value("messages_redriven_total", topic="other") == before + 1
    assert value("messages_redriven_total", topic=LEADER) == 0


REPLIES: list[tuple[Reply, str]] = [
    (Accepted(order_id="0x1", status="matched", making=1, taking=1, trade_ids=()), "accepted"),
    (Killed("no match"), "killed"),
    (Rejected(Reason.MALFORMED, "no"), "rejected"),
    (Duplicated("known"), "duplicated"),
    (RetryLater("restarting"), "retry_later"),
    (ReplyLost("time-out"), "reply_lost"),
]


@pytest.mark.parametrize(("reply", "label"), REPLIES, ids=[label for _, label in REPLIES])
def test_a_posted_order_is_counted_by_its_reply(reply: Reply, label: str) -> None:
    before = value("orders_posted_total", reply=label)

    metrics.order_posted(reply)

    assert value("orders_posted_total", reply=label) == before + 1


def test_every_closed_list_of_label_values_is_served_as_it_is() -> None:
    closed = [
        str(value)
        for declaration in metrics.declarations()
        for label in declaration.labels
        if not isinstance(label.values, str)
        for value in label.values
    ]

    assert closed
    assert [bounded(value) for value in closed] == closed


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
def test_values_that_could_be_ids_are_counted_as_other(identifier: str) -> None:
    assert bounded(identifier) == "other"


@given(st.integers(min_value=0, max_value=2**256 - 1))
def test_no_token_id_or_hash_is_a_label(number: int) -> None:
    assert bounded(f"0x{number:064x}") == "other"
    assert bounded(number) == ("other" if number > 9_999 else str(number))


def test_the_series_of_one_metric_are_bounded() -> None:
    declaration = Declaration(
        name="n",
        kind="counter",
        unit="",
        meaning="m",
        labels=(Label(name="word", values="any"),),
        subject=Subject.PROCESS,
    )
    counter = Metric(Counter("n", "m", ["word"], registry=CollectorRegistry()), declaration)

    for number in range(MAX_LABEL_SETS + 10):
        counter.labels(f"w{number // 100}.{number % 100}").inc()

    assert counter.labels("one-too-many") is counter.labels("another")
    assert counter.labels("w0.1") is not counter.labels("another")


def test_every_served_metric_is_declared_with_its_meaning() -> None:
    served = {family.name for family in REGISTRY.collect() if family.name.startswith("slipstream_")}
    declared = {declaration.name.removesuffix("_total") for declaration in metrics.declarations()}

    assert served == declared
    assert all(declaration.meaning for declaration in metrics.declarations())


def test_process_figures_are_served_after_repeated_calls() -> None:
    metrics.serve_process_figures()
    metrics.serve_process_figures()

    assert REGISTRY.get_sample_value("process_cpu_seconds_total") is not None
    assert REGISTRY.get_sample_value("python_gc_collections_total", {"generation": "0"}) is not None


def test_every_event_says_what_it_means() -> None:
    events = [
        value
        for name, value in vars(metrics).items()
        if inspect.isfunction(value) and not name.startswith("_")
    ]

    assert all(event.__doc__ for event in events if event.__module__ == metrics.__name__)
