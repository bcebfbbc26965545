"""A process that traces as a service does, and prints the traceparent that it passes on.

usage: traced_process.py WITHIN NAME STEP [TRACEPARENT]

WITHIN: how many seconds its end may wait for the collector.
"""

import sys

from shared.observe import tracing
from shared.observe.settings import TelemetrySettings


def main(within: str, name: str, step: str, traceparent: str | None = None) -> None:
    telemetry = tracing.setup(name, TelemetrySettings())
    sys.stdout.write(f"{_trace(step, traceparent)}\n")
    sys.stdout.write("flushed\n" if telemetry.shutdown(within=float(within)) else "spans lost\n")


def _trace(step: str, traceparent: str | None) -> str | None:
    if step == "observe":
        with tracing.start_span("observe fill", feed="rtds"):
            return tracing.inject()
    if step == "settle":
        with tracing.continue_trace(traceparent), tracing.start_span("settle"):
            return tracing.inject()
    headers = {"traceparent": traceparent.encode()} if traceparent else {}
    with (
        tracing.start_processing_span(
            headers,
            topic="leader-fills",
            partition=0,
            offset=7,
            key=b"0xleader",
            group=step,
            message_type="FillSeen",
        ),
        tracing.start_client_span("POST order"),
    ):
        return tracing.inject()


if __name__ == "__main__":
    main(*sys.argv[1:])
