"""Everything that telemetry, health and logging read from the environment."""

from typing import Annotated, Literal

from pydantic import Field, HttpUrl
from pydantic_settings import BaseSettings, SettingsConfigDict

Sampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]


class TelemetrySettings(BaseSettings):
    """The standard OpenTelemetry variables that decide whether and what we trace.

    The rest of the standard (headers, certificates, time-outs, batch sizes, resource attributes,
    service name) is read by the SDK itself.
    """

    model_config = SettingsConfigDict(env_prefix="OTEL_", env_ignore_empty=True, frozen=True)

    sdk_disabled: bool = False
    traces_exporter: Literal["otlp", "none"] = "otlp"
    exporter_otlp_endpoint: HttpUrl | None = None
    """Base address of a collector; the path ``/v1/traces`` is added."""
    exporter_otlp_traces_endpoint: HttpUrl | None = None
    """Full address for traces; wins over the base address."""
    exporter_otlp_protocol: Literal["http/protobuf"] = "http/protobuf"
    exporter_otlp_traces_protocol: Literal["http/protobuf"] = "http/protobuf"
    traces_sampler: Sampler = "parentbased_always_on"
    traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0

    def traces_endpoint(self) -> str | None:
        """Where traces go; ``None``: nowhere, and tracing costs next to nothing."""
        if self.sdk_disabled or self.traces_exporter == "none":
            return None
        if self.exporter_otlp_traces_endpoint is not None:
            return str(self.exporter_otlp_traces_endpoint)
        if self.exporter_otlp_endpoint is not None:
            return str(self.exporter_otlp_endpoint).rstrip("/") + "/v1/traces"
        return None


class HealthSettings(BaseSettings):
    """Where ``/metrics``, ``/live`` and ``/ready`` are served."""

    model_config = SettingsConfigDict(env_prefix="HEALTH_", frozen=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0: any free port."""


class LogSettings(BaseSettings):
    """How much is logged, and for whom: ``json`` for machines, ``text`` for people."""

    model_config = SettingsConfigDict(env_prefix="LOG_", frozen=True)

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["json", "text"] = "json"
