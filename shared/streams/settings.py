"""The Kafka settings of a process, read from its environment."""

import ssl
from typing import Annotated, Any, Literal, Self

from aiokafka.helpers import create_ssl_context
from pydantic import Field, FilePath, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PositiveInt = Annotated[int, Field(gt=0)]


class KafkaSettings(BaseSettings):
    """Names and units as in Kafka's documentation, with the prefix ``KAFKA_``."""

    model_config = SettingsConfigDict(
        env_prefix="KAFKA_", env_ignore_empty=True, frozen=True, use_attribute_docstrings=True
    )

    bootstrap_servers: str
    """Addresses of brokers: `host:port`, separated by commas."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How the brokers are connected to."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How the client authenticates, with a SASL protocol."""
    sasl_username: str | None = None
    """Required with a SASL protocol."""
    sasl_password: SecretStr | None = None
    """Required with a SASL protocol."""
    ssl_cafile: FilePath | None = None
    """Authorities that sign the brokers' certificates. Not set: the system's."""
    ssl_certfile: FilePath | None = None
    """The client's certificate, if the brokers ask for one."""
    ssl_keyfile: FilePath | None = None
    """The key of the client's certificate."""

    request_timeout_ms: Annotated[int, Field(ge=1_000)] = 8_000
    """Without an answer to a request for this long its connection is closed and opened anew: so a
    broker or a network that swallows packets is noticed."""

    group_instance_id: str | None = None
    """Static membership: this instance's name, unique in its service and the same after a restart,
    so that a restart moves no partition."""
    session_timeout_ms: Annotated[int, Field(ge=6_000)] = 10_000
    """After this long without a heartbeat an instance's partitions go to others. The broker's
    minimum is 6 s."""
    revocation_timeout_ms: PositiveInt = 5_000
    """How long running handlers may take to finish when their partition is revoked."""
    drain_timeout_ms: PositiveInt = 10_000
    """How long running handlers may take to finish after SIGTERM."""

    max_unfinished: PositiveInt = 20_000
    """From so many unfinished messages on, of all partitions of an instance together, partitions
    are paused. Up to it, a follower with a long queue delays no other of his partition; a message
    takes about 4 KB of memory."""
    max_unfinished_per_partition: PositiveInt = 500
    """From so many unfinished messages on a partition is paused, where all together have
    KAFKA_MAX_UNFINISHED. One fetch may exceed the limit."""
    commit_interval_ms: PositiveInt = 500
    """How often the offsets of finished messages are committed, besides at a rebalance and at the
    end. What a killed process finished since then is delivered again, and handled as any
    redelivery."""
    fetch_max_wait_ms: Annotated[int, Field(gt=0, le=2_000)] = 500
    """How long a broker holds back a response that has no messages; one with a message is sent at
    once. Each request names every partition, so that an idle process does little else."""
    dead_letters_per_minute: PositiveInt = 20
    """With more than this many parked messages within a minute the process stops: then the release
    is at fault and not the messages."""
    stuck_after_s: PositiveInt = 120
    """A handler that runs longer is stuck, and the process is not live."""

    partitions: PositiveInt = 64
    """Of each topic that is created. Changing it later would break the order of keys."""
    replication_factor: PositiveInt = 1
    """Copies of each partition of the topics that are created."""

    @model_validator(mode="after")
    def _sasl_is_complete(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (
            self.sasl_username and self.sasl_password
        ):
            raise ValueError(
                "KAFKA_SECURITY_PROTOCOL requires SASL: "
                "set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
            )
        return self

    def client(self) -> dict[str, Any]:
        """Return the keyword arguments of every aiokafka client."""
        connection: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.startswith("SASL") and self.sasl_password is not None:
            connection["sasl_mechanism"] = self.sasl_mechanism
            connection["sasl_plain_username"] = self.sasl_username
            connection["sasl_plain_password"] = self.sasl_password.get_secret_value()
        if self.security_protocol.endswith("SSL"):
            connection["ssl_context"] = self._ssl_context()
        return connection

    def _ssl_context(self) -> ssl.SSLContext:
        files = {
            "cafile": self.ssl_cafile,
            "certfile": self.ssl_certfile,
            "keyfile": self.ssl_keyfile,
        }
        context: ssl.SSLContext = create_ssl_context(
            **{name: str(path) for name, path in files.items() if path is not None}
        )
        return context
