"""A log record becomes one line with its service and trace, without secrets."""

import json
import logging
import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.observe import tracing
from shared.observe.logs import LineFormatter, TextFormatter
from shared.observe.redaction import HIDDEN, Redaction

SECRET = 'hun"ter\n22'
KEY = "0x" + "ab" * 32


@pytest.fixture
def redaction() -> Redaction:
    redaction = Redaction()
    redaction.register(SECRET)
    redaction.register(KEY)
    return redaction


def record(message: str, *args: object, **more: Any) -> logging.LogRecord:
    created = logging.LogRecord(
        "slipstream.pricer", logging.INFO, "pricer.py", 7, message, args, more.pop("exc_info", None)
    )
    vars(created).update(more)
    return created


def caught_error() -> Any:
    try:
        try:
            raise ValueError(SECRET)
        except ValueError as cause:
            raise RuntimeError(f"with {KEY}") from cause
    except RuntimeError:
        return sys.exc_info()


def test_a_line_is_json_with_service_logger_and_fields(redaction: Redaction) -> None:
    line = LineFormatter("pricer", redaction).format(
        record("quoted %s in %d ms", "token", 3, topic="quotes")
    )

    fields = json.loads(line)
    assert fields.pop("time").endswith("+00:00")
    assert fields == {
        "level": "INFO",
        "service": "pricer",
        "logger": "slipstream.pricer",
        "message": "quoted token in 3 ms",
        "topic": "quotes",
    }


def test_a_line_written_inside_a_trace_carries_its_id(
    redaction: Redaction, exported: InMemorySpanExporter
) -> None:
    with tracing.start_span("see fill"):
        line = LineFormatter("ingest", redaction).format(record("seen"))

    [span] = exported.get_finished_spans()
    assert json.loads(line)["trace_id"] == f"{span.context.trace_id:032x}"


@pytest.mark.parametrize("form", [LineFormatter, TextFormatter])
@pytest.mark.parametrize(
    "leak",
    [
        record(f"plain {SECRET} and {KEY}"),
        record("argument %s", SECRET),
        record("argument %r", SECRET),
        record("in a dict %s", {"a": {"b": SECRET, "c": KEY}}),
        record("named %(private_key)s", {"private_key": "0x" + "ee" * 32}),
        record("mismatch %d", SECRET),
        record("too many", KEY),
        record("extra", detail=SECRET, more=[KEY]),
        record("chained", exc_info=caught_error()),
        record("stack", stack_info=f"frame {KEY}"),
    ],
    ids=lambda leak: leak.msg.split()[0],
)
def test_no_part_of_a_line_shows_a_secret(
    leak: logging.LogRecord, form: type[LineFormatter], redaction: Redaction
) -> None:
    line = form("pricer", redaction).format(leak)

    assert HIDDEN in line
    for secret in ("ter\\n22", "ter\n22", "hun\\", "ab" * 32, "ee" * 32):
        assert secret not in line


def test_a_json_line_is_one_line_even_with_a_traceback(redaction: Redaction) -> None:
    line = LineFormatter("pricer", redaction).format(
        record("failed\nbadly", exc_info=caught_error())
    )

    assert "\n" not in line
    assert "RuntimeError" in json.loads(line)["exception"]


def test_a_text_line_shows_level_service_message_and_fields(redaction: Redaction) -> None:
    line = TextFormatter("pricer", redaction).format(record("quoted", topic="quotes"))

    assert (
        line.split(maxsplit=1)[1] == "INFO    pricer quoted logger=slipstream.pricer topic=quotes"
    )
