"""How does one trace run from a leader's fill to the confirmed copy, through Kafka and through
rows?

A message carries its W3C ``traceparent`` in a header, a row in a column; ``inject`` writes both and
nothing else does. Without a collector no span is made, but the context that a message brought is
handed on, so that the next service keeps the trace. The active tracer travels in a context
variable: every task started after ``setup`` has it.
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
"""Name of the Kafka header. Set it, never append a second one."""

Attribute = str | int | bool | float

_TRACEPARENT_FORM = re.compile(
    r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
_NO_TRACER = NoOpTracer()
_tracer: ContextVar[Tracer] = ContextVar("tracer", default=_NO_TRACER)


class Scope:
    """A span that is current while the block runs and ends after it. An exception leaves its type
    in the span, never its text.
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
        if kind is not None and self._span.is_recording():
            name = kind.__qualname__
            self._span.add_event("exception", {"exception.type": name})
            self._span.set_attribute("error.type", name)
            self._span.set_status(StatusCode.ERROR, name)
        self._span.end()


def processing(
    headers: Mapping[str, bytes],
    *,
    topic: str,
    partition: int,
    offset: int,
    key: bytes | None,
    group: str,
    message_type: str,
) -> Scope:
    """The work on one message: a CONSUMER span, child of the span that sent the message."""
    carried = headers.get(TRACEPARENT)
    above = _context_of(carried.decode("ascii", "replace") if carried else None)
    tracer = _tracer.get()
    if tracer is _NO_TRACER:
        return Scope(get_current_span(above), above)
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
    return _made_current(
        tracer.start_span(f"process {topic}", above, SpanKind.CONSUMER, attributes)
    )


def observing(name: str, **attributes: Attribute) -> Scope:
    """Something that was seen or done here: below the current span, or else the root of a new trace
    (a feed that saw a leader's fill).
    """
    return _made_current(_tracer.get().start_span(name, attributes=attributes))


def calling(name: str, **attributes: Attribute) -> Scope:
    """A call to the outside that is waited for (an order posted, a node asked): a CLIENT span."""
    return _made_current(
        _tracer.get().start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
    )


def resumed(traceparent: str | None) -> Scope:
    """Continue the trace that a row was written in. ``None`` or malformed: no trace, and what
    follows starts its own.
    """
    above = _context_of(traceparent)
    return Scope(get_current_span(above), above)


def describe(**attributes: Attribute) -> None:
    """Add to the current span what was learnt on the way, such as ``intent_id``."""
    get_current_span().set_attributes(attributes)


def inject() -> str | None:
    """The current position in the trace as W3C ``traceparent``, for a header or a row. ``None``:
    there is no trace.
    """
    here = get_current_span().get_span_context()
    if not here.is_valid:
        return None
    return f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags & 3:02x}"


def trace_id() -> str | None:
    """The current trace, 32 hex digits, for a log line."""
    here = get_current_span().get_span_context()
    return f"{here.trace_id:032x}" if here.is_valid else None


def _made_current(span: Span) -> Scope:
    return Scope(span, set_span_in_context(span, Context()))


def _context_of(traceparent: str | None) -> Context:
    """A context that holds the remote span alone: a message never becomes part of the trace that
    the loop happens to be in.
    """
    form = _TRACEPARENT_FORM.fullmatch(traceparent) if traceparent else None
    if form is None:
        return Context()
    trace, span, flags = form.groups()
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
        """Send what is waiting, for at most ``within`` seconds. False: the deadline came first and
        spans are lost.

        Blocks: call it as the process's last act, or in a thread.
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
    """Start tracing for this process, or for what runs in the current context.

    Without an endpoint nothing is exported and nothing is recorded.
    """
    endpoint = settings.traces_endpoint()
    if endpoint is None:
        _tracer.set(_NO_TRACER)
        return Telemetry(provider=None)
    provider = TracerProvider(
        sampler=_sampler(settings.traces_sampler, settings.traces_sampler_arg),
        resource=_resource(service_name),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    _tracer.set(_tracer_of(provider))
    return Telemetry(provider=provider)


@contextmanager
def traced_by(provider: TracerProvider) -> Iterator[None]:
    """Give spans to ``provider`` within the block: for programs and tests that make their own."""
    before = _tracer.set(_tracer_of(provider))
    yield
    _tracer.reset(before)


def _tracer_of(provider: TracerProvider) -> Tracer:
    return provider.get_tracer("slipstream", release())


def release() -> str:
    """The installed version of Slipstream, ``unknown`` when it runs from a tree that was never
    installed.
    """
    try:
        return metadata.version("slipstream")
    except metadata.PackageNotFoundError:
        return "unknown"


def _resource(service_name: str) -> Resource:
    ours = {
        "service.name": service_name,
        "service.version": release(),
        "service.instance.id": f"{socket.gethostname()}-{getpid()}",
    }
    return Resource(ours).merge(OTELResourceDetector().detect())


def _sampler(name: Sampler, ratio: float) -> sampling.Sampler:
    root = name.removeprefix("parentbased_")
    chosen = {"always_on": sampling.ALWAYS_ON, "always_off": sampling.ALWAYS_OFF}.get(
        root
    ) or sampling.TraceIdRatioBased(ratio)
    return sampling.ParentBased(chosen) if root != name else chosen
