"""Traces continue through headers and rows, and a failed span names only the error's type."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from shared.observe import tracing
from shared.observe.settings import TelemetrySettings

INCOMING = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def process(traceparent: str | None, *, key: bytes | None = b"0xproxy") -> tracing.SpanScope:
    headers = {"type": b"CopyIntended"} | (
        {"traceparent": traceparent.encode()} if traceparent is not None else {}
    )
    return tracing.start_processing_span(
        headers,
        topic="copy-intents",
        partition=3,
        offset=41,
        key=key,
        group="pricer",
        message_type="CopyIntended",
    )


def only_span(exported: InMemorySpanExporter) -> ReadableSpan:
    [span] = exported.get_finished_spans()
    return span


def test_processing_a_message_is_a_consumer_span_below_the_sender(
    exported: InMemorySpanExporter,
) -> None:
    with process(INCOMING):
        pass

    span = only_span(exported)
    assert (span.name, span.kind) == ("process copy-intents", SpanKind.CONSUMER)
    assert span.parent is not None
    assert span.parent.span_id == 0xB7AD6B7169203331
    assert span.context.trace_id == 0x0AF7651916CD43DD8448EB211C80319C
    assert span.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "copy-intents",
        "messaging.destination.partition.id": "3",
        "messaging.consumer.group.name": "pricer",
        "messaging.kafka.offset": 41,
        "messaging.kafka.message.key": "0xproxy",
        "slipstream.message.type": "CopyIntended",
    }


def test_the_processing_of_an_output_is_below_the_processing_of_its_input(
    exported: InMemorySpanExporter,
) -> None:
    with process(INCOMING):
        outgoing = tracing.inject()
    with process(outgoing):
        pass

    first, second = exported.get_finished_spans()
    assert second.parent is not None
    assert second.parent.span_id == first.context.span_id
    assert second.context.trace_id == first.context.trace_id


def test_processing_a_message_never_joins_the_trace_of_the_loop(
    exported: InMemorySpanExporter,
) -> None:
    with tracing.start_span("loop"), process(None):
        pass

    work, loop = exported.get_finished_spans()
    assert work.parent is None
    assert work.context.trace_id != loop.context.trace_id


def test_a_message_without_a_key_has_no_key_attribute(exported: InMemorySpanExporter) -> None:
    with process(INCOMING, key=None):
        pass

    assert "messaging.kafka.message.key" not in (only_span(exported).attributes or {})


def test_a_span_has_the_type_of_an_exception_and_never_its_text(
    exported: InMemorySpanExporter,
) -> None:
    with pytest.raises(ValueError, match="0xsecret"), process(INCOMING):
        raise ValueError("0xsecret payload")

    span = only_span(exported)
    assert span.status.status_code is StatusCode.ERROR
    assert [dict(event.attributes or {}) for event in span.events] == [
        {"exception.type": "ValueError"}
    ]
    assert "0xsecret" not in span.to_json()


def test_a_feeds_span_is_a_root_and_a_request_below_it_is_a_client_span(
    exported: InMemorySpanExporter,
) -> None:
    with tracing.start_span("observe fill", feed="rtds"):
        tracing.set_attributes(fills=2)
        with tracing.start_client_span("POST order"):
            pass

    call, root = exported.get_finished_spans()
    assert (root.parent, root.kind, root.attributes) == (
        None,
        SpanKind.INTERNAL,
        {"feed": "rtds", "fills": 2},
    )
    assert call.kind is SpanKind.CLIENT
    assert call.parent == root.context


def test_a_row_continues_the_trace_it_was_written_in(exported: InMemorySpanExporter) -> None:
    with process(INCOMING):
        stored = tracing.inject()
    with tracing.continue_trace(stored), tracing.start_span("settle"):
        pass

    wrote, settled = exported.get_finished_spans()
    assert settled.parent is not None
    assert settled.parent.span_id == wrote.context.span_id


def test_a_row_without_a_trace_starts_a_new_one_even_inside_another(
    exported: InMemorySpanExporter,
) -> None:
    with tracing.start_span("sweep"), tracing.continue_trace(None), tracing.start_span("settle"):
        pass

    settled, _ = exported.get_finished_spans()
    assert settled.parent is None


async def test_two_messages_processed_at_the_same_time_have_their_own_spans(
    exported: InMemorySpanExporter,
) -> None:
    both_inside = asyncio.Barrier(2)

    async def work(incoming: str) -> str | None:
        with process(incoming):
            await both_inside.wait()
            return tracing.trace_id()

    other = INCOMING.replace("0af7", "1af7")
    assert list(await asyncio.gather(work(INCOMING), work(other))) == [INCOMING[3:35], other[3:35]]


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        (INCOMING, "0af7651916cd43dd8448eb211c80319c"),
        (None, None),
        ("", None),
        ("00-0af7", None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
    ],
)
def test_the_trace_id_of_a_row_is_read_from_its_traceparent(
    traceparent: str | None, trace_id: str | None
) -> None:
    assert tracing.parse_trace_id(traceparent) == trace_id


def test_without_a_collector_the_context_is_passed_on_unchanged() -> None:
    tracing.setup("pricer", TelemetrySettings(traces_exporter="none"))

    with process(INCOMING):
        assert tracing.inject() == INCOMING
        with tracing.start_client_span("GET book"):
            assert tracing.inject() == INCOMING
    with tracing.continue_trace(INCOMING):
        assert tracing.inject() == INCOMING


def test_without_a_collector_no_trace_is_started() -> None:
    with tracing.start_span("observe fill"):
        assert tracing.inject() is None
        assert tracing.trace_id() is None


def test_a_trace_that_the_sender_did_not_sample_is_not_exported(
    exported: InMemorySpanExporter,
) -> None:
    with process(INCOMING[:-2] + "00"):
        outgoing = tracing.inject()

    assert exported.get_finished_spans() == ()
    assert outgoing is not None
    assert outgoing[3:35] == INCOMING[3:35]
    assert outgoing.endswith("-00")


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "00",
        "ff" + INCOMING[2:],
        INCOMING + "0",
        INCOMING.replace("0af7", "0AF7"),
        INCOMING.replace(INCOMING[3:35], "0" * 32),
        INCOMING.replace(INCOMING[36:52], "0" * 16),
    ],
)
def test_a_malformed_traceparent_starts_a_new_trace(
    malformed: str, exported: InMemorySpanExporter
) -> None:
    with process(malformed):
        pass

    assert only_span(exported).parent is None


@given(st.text())
def test_no_header_makes_processing_fail(header: str) -> None:
    with tracing.start_processing_span(
        {"traceparent": header.encode()},
        topic="t",
        partition=0,
        offset=0,
        key=header.encode(),
        group="g",
        message_type="M",
    ):
        assert tracing.inject() is None


def test_a_header_of_a_later_version_is_read_by_its_known_fields(
    exported: InMemorySpanExporter,
) -> None:
    with process("01" + INCOMING[2:] + "-more"):
        pass

    assert only_span(exported).context.trace_id == int(INCOMING[3:35], 16)
