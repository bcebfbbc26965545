"""Everything that executor reads from its environment, besides the shared KAFKA_, DATABASE_, OTEL_
and venue variables.
"""

from datetime import timedelta

from pydantic import Field, FilePath, HttpUrl
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="EXECUTOR_", frozen=True, use_attribute_docstrings=True
    )

    polygon_rpc_url: HttpUrl = Field(validation_alias="POLYGON_RPC_URL")
    """Asked only of an order that the venue says nothing of."""
    keys_file: FilePath
    """JSON: a list of {"proxy": address, "private_key": key}. Readable by nobody else: a mounted
    secret."""
    lease_lasts: timedelta = Field(default=timedelta(seconds=8), ge=timedelta(seconds=1))
    """How long this instance may act for its partitions without the database's word. Below
    KAFKA_SESSION_TIMEOUT_MS nobody waits for it."""
    look_every: timedelta = timedelta(seconds=1)
    """How often the venue is asked for the trades of orders that are not final."""
    wallets_at_a_time: int = Field(default=40, gt=0)
    """In one look: the venue answers 50 such requests a second (protocol notes, 4.7)."""
    overdue_after: timedelta = timedelta(seconds=5)
    """An order without an answer for this long is looked after."""
    continue_after: timedelta = Field(default=timedelta(seconds=5), gt=timedelta(0))
    """An exit that sold less than it was to goes around again with the rest after so long; then
    after as long again as it is old."""
    verify_for: timedelta = Field(default=timedelta(seconds=5), gt=timedelta(0))
    """The venue's no is believed once it has shown no trade of the order for this long: its
    replicas lag by seconds."""
