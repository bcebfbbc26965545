"""What only shows between processes: one trace through several, a collector that is down, and lines
on standard error.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator

import pytest

from shared.testing.otlp import OtlpReceiver

SPEAKER = "tests.integration.observe.traced_process"


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


async def speak(collector: OtlpReceiver | None, *arguments: str, **variables: str) -> str:
    """What the process hands on."""
    to = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint} if collector else {}
    out, errors = await run("-m", SPEAKER, "60", *arguments, **to, **variables)
    handed_on, flushed = out.splitlines()
    assert (flushed, errors) == ("flushed", "")
    return handed_on


async def test_the_spans_of_several_processes_form_one_tree_through_headers_and_a_row(
    collector: OtlpReceiver,
) -> None:
    seen = await speak(collector, "ingest", "see")
    priced = await speak(collector, "pricer", "pricer", seen)
    await speak(collector, "executor", "executor", priced)
    await speak(collector, "tx-monitor", "settle", priced)
    await speak(collector, "pricer", "pricer", seen)

    [trace_id] = collector.trace_ids()
    [tree] = collector.build_trees(trace_id)
    assert tree.draw() == [
        "ingest: see fill",
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
    seen = await speak(collector, "ingest", "see")
    passed = await speak(None, "pricer", "pricer", seen)
    await speak(collector, "executor", "executor", passed)

    [trace_id] = collector.trace_ids()
    [tree] = collector.build_trees(trace_id)
    assert tree.draw() == [
        "ingest: see fill",
        "  executor: process leader-fills",
        "    executor: POST order",
    ]


async def test_the_resource_says_which_process_it_was_and_the_standard_variables_win(
    collector: OtlpReceiver,
) -> None:
    await speak(collector, "ingest", "see")
    await speak(
        collector,
        "ingest",
        "see",
        OTEL_SERVICE_NAME="other",
        OTEL_RESOURCE_ATTRIBUTES="service.instance.id=pod-1",
    )

    first, second = (span.resource for span in collector.find_spans("see fill"))
    assert first["service.name"] == "ingest"
    assert first["service.version"]
    assert str(first["service.instance.id"]).startswith(socket.gethostname())
    assert (second["service.name"], second["service.instance.id"]) == ("other", "pod-1")


async def test_the_standard_headers_go_with_each_export(collector: OtlpReceiver) -> None:
    await speak(collector, "ingest", "see", OTEL_EXPORTER_OTLP_HEADERS="x-team=slipstream")

    assert {name.lower(): value for name, value in collector.headers[0].items()}[
        "x-team"
    ] == "slipstream"


async def test_a_compressed_export_is_read(collector: OtlpReceiver) -> None:
    await speak(collector, "ingest", "see", OTEL_EXPORTER_OTLP_COMPRESSION="gzip")

    assert [span.attributes for span in collector.find_spans("see fill")] == [{"feed": "rtds"}]


@pytest.mark.parametrize("sampler", ["always_off", "parentbased_always_off"])
async def test_the_standard_sampler_decides(sampler: str, collector: OtlpReceiver) -> None:
    handed_on = await speak(collector, "ingest", "see", OTEL_TRACES_SAMPLER=sampler)

    assert collector.spans == []
    assert int(handed_on[-2:], 16) & 1 == 0


async def test_a_collector_that_never_answers_delays_the_end_by_the_deadline_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        out, _ = await run(
            "-m",
            SPEAKER,
            "1",
            "ingest",
            "see",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}",
        )

    assert out.splitlines()[1] == "spans lost"


LOUD = """
import logging, threading, warnings
from shared.observe import logs
from shared.observe.settings import LogSettings

logs.setup("pricer", LogSettings())
logs.register_secret("hunter22")
logging.getLogger("aiokafka").warning("password is %s", "hunter22")
logging.getLogger("other").info("misfit %d", "hunter22")
logging.getLogger("quiet").debug("not shown")
warnings.warn("hunter22 is deprecated")
thread = threading.Thread(target=lambda: 1 / len("hunter22".removeprefix("hunter22")))
thread.start()
thread.join()
raise RuntimeError("ended with hunter22")
"""


async def test_all_that_a_process_says_is_in_lines_without_its_secret() -> None:
    _, errors = await run("-c", LOUD)

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
