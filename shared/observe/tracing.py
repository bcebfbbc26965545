"""Tracing: one trace from a leader's fill to the confirmed copy, across Kafka and database rows.

A message carries its W3C ``traceparent`` in a header, a row in a column; ``inject`` writes both and
nothing else does. Without a collector no span is made, but the context that a message brought is
passed on, so that the next service continues the trace. The active tracer is in a context variable:
every task started after ``setup`` has it.
"""

import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from importlib import metadata
from os import getpid
from types import TracebackType

from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from shared.observe.settings import Sampler, TelemetrySettings

TRACEPARENT = "traceparent"
"""Name of the Kafka header. It must be set, never appended a second time."""

Attribute = str | int | bool | float

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_NO_TRACER = NoOpTracer()
_tracer: ContextVar[Tracer] = ContextVar("tracer", default=_NO_TRACER)


class SpanScope:
    """A span that is current in a block and ends with it. The span of a block that raises has the
    exception's type, never its text.

    Work that is no block of its own, as that on a message of a batch, ends it by ``end``.
    """

    __slots__ = ("_context", "_span", "_token")

    def __init__(self, span: Span, context: Context) -> None:
        self._span = span
        self._context = context

    def __enter__(self) -> Span:
        self._token: Token[Context] = attach(self._context)
        return self._span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        detach(self._token)
        self.end(error)

    @property
    def traceparent(self) -> str | None:
        """The span as ``inject`` returns it where it is current."""
        return _format_traceparent(self._span)

    @contextmanager
    def current(self) -> Iterator[None]:
        """The span is current in the block, and does not end with it."""
        token = attach(self._context)
        try:
            yield
        finally:
            detach(token)

    def end(self, error: BaseException | None = None) -> None:
        """End the span, with the type of the error that its work ended with. A span that has ended
        stays as it is.
        """
        if not self._span.is_recording():
            return
        if error is not None:
            name = type(error).__qualname__
            self._span.add_event("exception", {"exception.type": name})
            self._span.set_attribute("error.type", name)
            self._span.set_status(StatusCode.ERROR, name)
        self._span.end()


def start_processing_span(
    headers: Mapping[str, bytes],
    *,
    topic: str,
    partition: int,
    offset: int,
    key: bytes | None,
    group: str,
    message_type: str,
) -> SpanScope:
    """The work on one message: a CONSUMER span, child of the span that sent the message."""
    header = headers.get(TRACEPARENT)
    parent = _parse_context(header.decode("ascii", "replace") if header else None)
    tracer = _tracer.get()
    if tracer is _NO_TRACER:
        return SpanScope(get_current_span(parent), parent)
    attributes: dict[str, Attribute] = {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(partition),
        "messaging.consumer.group.name": group,
        "messaging.kafka.offset": offset,
        "slipstream.message.type": message_type,
    }
    if key is not None:
        attributes["messaging.kafka.message.key"] = key.decode("utf-8", "backslashreplace")
    return _as_current(tracer.start_span(f"process {topic}", parent, SpanKind.CONSUMER, attributes))


def start_span(name: str, **attributes: Attribute) -> SpanScope:
    """A span below the current one, or the root of a new trace (a feed that received a leader's
    fill).
    """
    return _as_current(_tracer.get().start_span(name, attributes=attributes))


def start_client_span(name: str, **attributes: Attribute) -> SpanScope:
    """A CLIENT span: a request to another system that is awaited (an order, a call of a node)."""
    return _as_current(_tracer.get().start_span(name, kind=SpanKind.CLIENT, attributes=attributes))


def continue_trace(traceparent: str | None) -> SpanScope:
    """Continue the trace that a row was written in.

    ``None`` or a malformed value: there is no trace, and the next span starts its own.
    """
    parent = _parse_context(traceparent)
    return SpanScope(get_current_span(parent), parent)


def set_attributes(**attributes: Attribute) -> None:
    """Add attributes to the current span, such as ``intent_id``."""
    get_current_span().set_attributes(attributes)


def inject() -> str | None:
    """The current span as a W3C ``traceparent``, for a header or a row; ``None`` where there is no
    trace.
    """
    return _format_traceparent(get_current_span())


def trace_id() -> str | None:
    """The id of the current trace as 32 hex digits; ``None`` where there is none."""
    current = get_current_span().get_span_context()
    return f"{current.trace_id:032x}" if current.is_valid else None


def parse_trace_id(traceparent: str | None) -> str | None:
    """The trace's id in a ``traceparent`` that a row was written with, as 32 hex digits; ``None``
    where there is no trace or the text is malformed.
    """
    remote = get_current_span(_parse_context(traceparent)).get_span_context()
    return f"{remote.trace_id:032x}" if remote.is_valid else None


def _format_traceparent(span: Span) -> str | None:
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 3:02x}"


def _as_current(span: Span) -> SpanScope:
    return SpanScope(span, set_span_in_context(span, Context()))


def _parse_context(traceparent: str | None) -> Context:
    """A context with the remote span only: a message never joins the trace that is current in the
    loop.
    """
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None:
        return Context()
    trace, span, flags = match.groups()
    remote = SpanContext(
        int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )
    return (
        set_span_in_context(NonRecordingSpan(remote), Context()) if remote.is_valid else Context()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """The process's tracing; ``provider`` is ``None`` where nothing is exported."""

    provider: TracerProvider | None

    def shutdown(self, *, within: float = 5.0) -> bool:
        """Export the waiting spans, for at most ``within`` seconds.

        Returns False where the time was not enough and spans are lost.
        It blocks: call it at the end of the process, or in a thread.
        """
        _tracer.set(_NO_TRACER)
        if self.provider is None:
            return True
        flush = threading.Thread(
            target=self.provider.shutdown, name="telemetry-shutdown", daemon=True
        )
        flush.start()
        flush.join(within)
        return not flush.is_alive()


def setup(service_name: str, settings: TelemetrySettings) -> Telemetry:
    """Start tracing for this process, or for the current context.

    Without an endpoint nothing is recorded or exported.
    """
    endpoint = settings.traces_endpoint()
    if endpoint is None:
        _tracer.set(_NO_TRACER)
        return Telemetry(provider=None)
    provider = TracerProvider(
        sampler=_build_sampler(settings.traces_sampler, settings.traces_sampler_arg),
        resource=_build_resource(service_name),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    _tracer.set(_build_tracer(provider))
    return Telemetry(provider=provider)


@contextmanager
def use_provider(provider: TracerProvider) -> Iterator[None]:
    """Send spans to ``provider`` within the block: for programs that make their own provider."""
    before = _tracer.set(_build_tracer(provider))
    yield
    _tracer.reset(before)


def _build_tracer(provider: TracerProvider) -> Tracer:
    return provider.get_tracer("slipstream", installed_version())


def installed_version() -> str:
    """The installed version of Slipstream, or ``unknown`` where it runs without installation."""
    try:
        return metadata.version("slipstream")
    except metadata.PackageNotFoundError:
        return "unknown"


def _build_resource(service_name: str) -> Resource:
    ours = {
        "service.name": service_name,
        "service.version": installed_version(),
        "service.instance.id": f"{socket.gethostname()}-{getpid()}",
    }
    return Resource(ours).merge(OTELResourceDetector().detect())


def _build_sampler(name: Sampler, ratio: float) -> sampling.Sampler:
    root = name.removeprefix("parentbased_")
    chosen = {"always_on": sampling.ALWAYS_ON, "always_off": sampling.ALWAYS_OFF}.get(
        root
    ) or sampling.TraceIdRatioBased(ratio)
    return sampling.ParentBased(chosen) if root != name else chosen
