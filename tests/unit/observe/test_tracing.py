"""A trace goes through headers and rows, and what failed is told by its type alone."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from shared.observe import tracing
from shared.observe.settings import TelemetrySettings

SENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def work_on(traceparent: str | None, *, key: bytes | None = b"0xproxy") -> tracing.SpanScope:
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


def only(exported: InMemorySpanExporter) -> ReadableSpan:
    [span] = exported.get_finished_spans()
    return span


def test_work_on_a_message_is_a_consumer_span_below_the_one_that_sent_it(
    exported: InMemorySpanExporter,
) -> None:
    with work_on(SENT):
        pass

    span = only(exported)
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


def test_what_a_message_leads_to_is_below_the_work_on_it(exported: InMemorySpanExporter) -> None:
    with work_on(SENT):
        handed_on = tracing.inject()
    with work_on(handed_on):
        pass

    first, second = exported.get_finished_spans()
    assert second.parent is not None
    assert second.parent.span_id == first.context.span_id
    assert second.context.trace_id == first.context.trace_id


def test_the_work_on_a_message_is_never_part_of_the_trace_around_the_loop(
    exported: InMemorySpanExporter,
) -> None:
    with tracing.start_span("around"), work_on(None):
        pass

    work, around = exported.get_finished_spans()
    assert work.parent is None
    assert work.context.trace_id != around.context.trace_id


def test_a_message_without_a_key_has_no_key_attribute(exported: InMemorySpanExporter) -> None:
    with work_on(SENT, key=None):
        pass

    assert "messaging.kafka.message.key" not in (only(exported).attributes or {})


def test_an_exception_leaves_its_type_and_never_its_text(exported: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="0xsecret"), work_on(SENT):
        raise ValueError("0xsecret payload")

    span = only(exported)
    assert span.status.status_code is StatusCode.ERROR
    assert [dict(event.attributes or {}) for event in span.events] == [
        {"exception.type": "ValueError"}
    ]
    assert "0xsecret" not in span.to_json()


def test_a_feed_that_saw_a_fill_is_the_root_and_a_call_below_it_is_a_client(
    exported: InMemorySpanExporter,
) -> None:
    with tracing.start_span("see fill", feed="rtds"):
        tracing.set_attributes(fills=2)
        with tracing.start_client_span("POST order"):
            pass

    call, seen = exported.get_finished_spans()
    assert (seen.parent, seen.kind, seen.attributes) == (
        None,
        SpanKind.INTERNAL,
        {"feed": "rtds", "fills": 2},
    )
    assert call.kind is SpanKind.CLIENT
    assert call.parent == seen.context


def test_a_row_continues_the_trace_it_was_written_in(exported: InMemorySpanExporter) -> None:
    with work_on(SENT):
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


async def test_two_messages_at_once_do_not_see_each_others_span(
    exported: InMemorySpanExporter,
) -> None:
    both_inside = asyncio.Barrier(2)

    async def work(sent: str) -> str | None:
        with work_on(sent):
            await both_inside.wait()
            return tracing.trace_id()

    other = SENT.replace("0af7", "1af7")
    assert list(await asyncio.gather(work(SENT), work(other))) == [SENT[3:35], other[3:35]]


def test_without_a_collector_the_context_is_handed_on_as_it_came() -> None:
    tracing.setup("pricer", TelemetrySettings(traces_exporter="none"))

    with work_on(SENT):
        assert tracing.inject() == SENT
        with tracing.start_client_span("GET book"):
            assert tracing.inject() == SENT
    with tracing.continue_trace(SENT):
        assert tracing.inject() == SENT


def test_without_a_collector_no_trace_is_begun() -> None:
    with tracing.start_span("see fill"):
        assert tracing.inject() is None
        assert tracing.trace_id() is None


def test_the_sender_that_did_not_sample_is_respected(exported: InMemorySpanExporter) -> None:
    with work_on(SENT[:-2] + "00"):
        handed_on = tracing.inject()

    assert exported.get_finished_spans() == ()
    assert handed_on is not None
    assert handed_on[3:35] == SENT[3:35]
    assert handed_on.endswith("-00")


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "00",
        "ff" + SENT[2:],
        SENT + "0",
        SENT.replace("0af7", "0AF7"),
        SENT.replace(SENT[3:35], "0" * 32),
        SENT.replace(SENT[36:52], "0" * 16),
    ],
)
def test_a_malformed_traceparent_starts_a_new_trace(
    malformed: str, exported: InMemorySpanExporter
) -> None:
    with work_on(malformed):
        pass

    assert only(exported).parent is None


@given(st.text())
def test_no_header_can_make_the_work_fail(header: str) -> None:
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


def test_a_later_version_of_the_header_is_read_as_far_as_we_know_it(
    exported: InMemorySpanExporter,
) -> None:
    with work_on("01" + SENT[2:] + "-more"):
        pass

    assert only(exported).context.trace_id == int(SENT[3:35], 16)
