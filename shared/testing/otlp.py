"""A trace collector for tests: it receives OTLP over HTTP and builds the trees of a trace."""

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

Value = str | int | bool | float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedSpan:
    """An exported span. Ids are hex, the root's ``parent_id`` is empty, times are Unix ns."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    kind: str
    started_ns: int
    ended_ns: int
    attributes: dict[str, Value]
    resource: dict[str, Value]
    events: tuple[tuple[str, dict[str, Value]], ...]
    failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanNode:
    """A span with its children, in the order of their start."""

    span: ExportedSpan
    children: tuple["SpanNode", ...]

    def draw(self, depth: int = 0) -> list[str]:
        """The tree as indented lines ``service: span name``, to be compared in a test."""
        lines = [f"{'  ' * depth}{self.span.service}: {self.span.name}"]
        return lines + [line for child in self.children for line in child.draw(depth + 1)]


class OtlpReceiver:
    """An OTLP endpoint while the block runs: processes get ``endpoint`` as
    OTEL_EXPORTER_OTLP_ENDPOINT.
    """

    def __init__(self) -> None:
        self.spans: list[ExportedSpan] = []
        self.headers: list[dict[str, str]] = []
        self._runner: web.AppRunner | None = None
        self.endpoint = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 2**20)
        app.add_routes([web.post("/v1/traces", self._receive)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.endpoint = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def trace_ids(self) -> set[str]:
        return {span.trace_id for span in self.spans}

    def find_spans(self, name: str) -> list[ExportedSpan]:
        return [span for span in self.spans if span.name == name]

    def build_trees(self, trace_id: str) -> tuple[SpanNode, ...]:
        """The trees of a trace: one if it is complete, more if a parent was never exported."""
        spans = sorted(
            (span for span in self.spans if span.trace_id == trace_id),
            key=lambda span: span.started_ns,
        )
        known = {span.span_id for span in spans}
        return tuple(_build_node(span, spans) for span in spans if span.parent_id not in known)

    async def _receive(self, request: web.Request) -> web.Response:
        export = ExportTraceServiceRequest.FromString(await request.read())
        self.headers.append(dict(request.headers))
        for source in export.resource_spans:
            resource = _parse_values(source.resource.attributes)
            self.spans += [
                _parse_span(span, resource) for scope in source.scope_spans for span in scope.spans
            ]
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(),
            content_type="application/x-protobuf",
        )


def _build_node(span: ExportedSpan, spans: list[ExportedSpan]) -> SpanNode:
    return SpanNode(
        span=span,
        children=tuple(
            _build_node(below, spans) for below in spans if below.parent_id == span.span_id
        ),
    )


def _parse_span(span: Span, resource: dict[str, Value]) -> ExportedSpan:
    return ExportedSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        service=str(resource.get("service.name", "")),
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        started_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=_parse_values(span.attributes),
        resource=resource,
        events=tuple((event.name, _parse_values(event.attributes)) for event in span.events),
        failed=span.status.code == Status.STATUS_CODE_ERROR,
    )


def _parse_values(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value")
        for pair in pairs
    }
