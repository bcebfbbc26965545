"""The settings of tracing, health probes and logs."""

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
    """The standard OpenTelemetry variables that decide whether and where traces are exported.

    The SDK itself reads the other standard variables: headers, certificates, time-outs, batch
    sizes, resource attributes, service name.
    """

    model_config = SettingsConfigDict(
        env_prefix="OTEL_", env_ignore_empty=True, frozen=True, use_attribute_docstrings=True
    )

    sdk_disabled: bool = False
    """true: no tracing at all."""
    traces_exporter: Literal["otlp", "none"] = "otlp"
    """none: nothing is exported."""
    exporter_otlp_endpoint: HttpUrl | None = None
    """Base address of a collector; the path `/v1/traces` is added. Not set: no traces."""
    exporter_otlp_traces_endpoint: HttpUrl | None = None
    """Full address for traces; wins over the base address."""
    exporter_otlp_protocol: Literal["http/protobuf"] = "http/protobuf"
    """The only supported protocol."""
    exporter_otlp_traces_protocol: Literal["http/protobuf"] = "http/protobuf"
    """The only supported protocol."""
    traces_sampler: Sampler = "parentbased_always_on"
    """Which traces are exported, by the names of the OpenTelemetry specification."""
    traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of traces that the ratio samplers export."""

    def traces_endpoint(self) -> str | None:
        """The address that traces are sent to; ``None``: no traces, at next to no cost."""
        if self.sdk_disabled or self.traces_exporter == "none":
            return None
        if self.exporter_otlp_traces_endpoint is not None:
            return str(self.exporter_otlp_traces_endpoint)
        if self.exporter_otlp_endpoint is not None:
            return str(self.exporter_otlp_endpoint).rstrip("/") + "/v1/traces"
        return None


class HealthSettings(BaseSettings):
    """Where `/metrics`, `/live` and `/ready` are served."""

    model_config = SettingsConfigDict(
        env_prefix="HEALTH_", frozen=True, use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """The address that the probes and metrics are served on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """The port that they are served on; 0: any free port."""


class LogSettings(BaseSettings):
    """What is logged, and in which form."""

    model_config = SettingsConfigDict(env_prefix="LOG_", frozen=True, use_attribute_docstrings=True)

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Records below this level are not written."""
    format: Literal["json", "text"] = "json"
    """json: for machines. text: for people."""
