"""Tracing and logging across processes: one trace, a silent collector, lines on standard error."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator

import pytest

from shared.testing.otlp import OtlpReceiver

TRACED_PROCESS = "tests.integration.observe.traced_process"


@pytest.fixture
async def collector() -> AsyncIterator[OtlpReceiver]:
    async with OtlpReceiver() as collector:
        yield collector


async def run(*arguments: str, **variables: str) -> tuple[str, str]:
    """Standard output and standard error of a Python process with only these OTEL variables."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("OTEL_")
    } | variables
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environment, stdout=pipe, stderr=pipe
    )
    out, errors = await process.communicate()
    return out.decode(), errors.decode()


async def run_traced(collector: OtlpReceiver | None, *arguments: str, **variables: str) -> str:
    """Run the traced process and return the traceparent that it passes on."""
    export = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint} if collector else {}
    out, errors = await run("-m", TRACED_PROCESS, "60", *arguments, **export, **variables)
    outgoing, flushed = out.splitlines()
    assert (flushed, errors) == ("flushed", "")
    return outgoing


async def test_the_spans_of_several_processes_form_one_tree_through_headers_and_a_row(
    collector: OtlpReceiver,
) -> None:
    seen = await run_traced(collector, "ingest", "observe")
    priced = await run_traced(collector, "pricer", "pricer", seen)
    await run_traced(collector, "executor", "executor", priced)
    await run_traced(collector, "tx-monitor", "settle", priced)
    await run_traced(collector, "pricer", "pricer", seen)

    [trace_id] = collector.trace_ids()
    [tree] = collector.build_trees(trace_id)
    assert tree.draw() == [
        "ingest: observe fill",
        "  pricer: process leader-fills",
        "    pricer: POST order",
        "      executor: process leader-fills",
        "        executor: POST order",
        "      tx-monitor: settle",
        "  pricer: process leader-fills",
        "    pricer: POST order",
    ]


async def test_a_service_without_a_collector_does_not_break_the_trace(
    collector: OtlpReceiver,
) -> None:
    seen = await run_traced(collector, "ingest", "observe")
    passed = await run_traced(None, "pricer", "pricer", seen)
    await run_traced(collector, "executor", "executor", passed)

    [trace_id] = collector.trace_ids()
    [tree] = collector.build_trees(trace_id)
    assert tree.draw() == [
        "ingest: observe fill",
        "  executor: process leader-fills",
        "    executor: POST order",
    ]


async def test_the_resource_names_the_process_and_standard_variables_override_it(
    collector: OtlpReceiver,
) -> None:
    await run_traced(collector, "ingest", "observe")
    await run_traced(
        collector,
        "ingest",
        "observe",
        OTEL_SERVICE_NAME="other",
        OTEL_RESOURCE_ATTRIBUTES="service.instance.id=pod-1",
    )

    first, second = (span.resource for span in collector.find_spans("observe fill"))
    assert first["service.name"] == "ingest"
    assert first["service.version"]
    assert str(first["service.instance.id"]).startswith(socket.gethostname())
    assert (second["service.name"], second["service.instance.id"]) == ("other", "pod-1")


async def test_standard_headers_are_sent_with_each_export(collector: OtlpReceiver) -> None:
    await run_traced(collector, "ingest", "observe", OTEL_EXPORTER_OTLP_HEADERS="x-team=slipstream")

    assert {name.lower(): value for name, value in collector.headers[0].items()}[
        "x-team"
    ] == "slipstream"


async def test_a_compressed_export_is_read(collector: OtlpReceiver) -> None:
    await run_traced(collector, "ingest", "observe", OTEL_EXPORTER_OTLP_COMPRESSION="gzip")

    assert [span.attributes for span in collector.find_spans("observe fill")] == [{"feed": "rtds"}]


@pytest.mark.parametrize("sampler", ["always_off", "parentbased_always_off"])
async def test_the_standard_sampler_decides(sampler: str, collector: OtlpReceiver) -> None:
    outgoing = await run_traced(collector, "ingest", "observe", OTEL_TRACES_SAMPLER=sampler)

    assert collector.spans == []
    assert int(outgoing[-2:], 16) & 1 == 0


async def test_a_silent_collector_delays_the_end_no_longer_than_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        out, _ = await run(
            "-m",
            TRACED_PROCESS,
            "1",
            "ingest",
            "observe",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}",
        )

    assert out.splitlines()[1] == "spans lost"


LOGGING_PROCESS = """
import logging, threading, warnings
from shared.observe import logs
from shared.observe.settings import LogSettings

logs.setup("pricer", LogSettings())
logs.register_secret("hunter22")
logging.getLogger("aiokafka").warning("password is %s", "hunter22")
logging.getLogger("other").info("mismatch %d", "hunter22")
logging.getLogger("quiet").debug("not shown")
warnings.warn("hunter22 is deprecated")
thread = threading.Thread(target=lambda: 1 / len("hunter22".removeprefix("hunter22")))
thread.start()
thread.join()
raise RuntimeError("ended with hunter22")
"""


async def test_all_output_of_a_process_is_json_lines_without_its_secret() -> None:
    _, errors = await run("-c", LOGGING_PROCESS)

    assert "hunter22" not in errors
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [(line["logger"], line["level"]) for line in lines] == [
        ("aiokafka", "WARNING"),
        ("other", "INFO"),
        ("py.warnings", "WARNING"),
        ("slipstream", "CRITICAL"),
        ("slipstream", "CRITICAL"),
    ]
    assert "RuntimeError: ended with [redacted]" in lines[-1]["exception"]
