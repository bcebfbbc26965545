"""Settings of tx-monitor, from environment variables TX_MONITOR_* and POLYGON_RPC_URL.

The KAFKA_, DATABASE_ and OTEL_ variables are read by shared modules.
"""

from datetime import timedelta
from typing import Self

from pydantic import (
    Field,
    FilePath,
    HttpUrl,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.tx_monitor.decisions.policy import GWEI, Policy

DEFAULTS = Policy()
URL: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="TX_MONITOR_", frozen=True, use_attribute_docstrings=True
    )

    polygon_rpc_url: HttpUrl = Field(validation_alias="POLYGON_RPC_URL")
    """The node that is asked for receipts and for the fills of followers, and that transfers are
    sent to."""
    extra_rpc_urls: str = ""
    """More nodes that transfers are sent to and looked up at, with commas between them: other
    providers than the first. What is final of a transfer is what all of them agree on."""
    operator_keys_file: FilePath | None = None
    """JSON: a list of {"private_key": key}, one for each operator wallet. A mounted secret that
    only tx-monitor can read; all instances have the same. Without it nothing is transferred, and
    requested transfers are refused."""
    lease_duration: timedelta = Field(default=timedelta(seconds=8), ge=timedelta(seconds=1))
    """How long this instance may read the fills of its partitions' followers without renewing its
    leases. Keep it below KAFKA_SESSION_TIMEOUT_MS: then no partition waits for a lease after a
    failure."""
    poll_interval: timedelta = timedelta(seconds=1)
    """How often the receipts of open watches are polled, and the fills of followers read: about a
    block's time."""
    first_lookback_blocks: int = Field(default=100, ge=0)
    """How many blocks before the finalized one the fills of followers are read where there is no
    cursor yet: two to three minutes. That is the lifetime of an order, a minute, and its
    settlement; of what was matched before, the executor asks the venue."""
    give_up_after: timedelta = timedelta(hours=1)
    """A transaction that is in no block for this long is published as dropped: replaced, or lost.
    """
    receipts_batch_size: int = Field(default=200, gt=0)
    """Receipts that are asked for together; in fewer at once where the node takes no more."""
    node_timeout: timedelta = Field(default=timedelta(seconds=4), gt=timedelta(0))
    """How long a node that transfers are sent to may take to answer; then it is left out of the
    round."""
    min_tip_gwei: int = Field(default=DEFAULTS.min_tip // GWEI, gt=0)
    """The lowest tip of a transfer, in gwei for each gas. Pools take none below 25, and many
    providers none below 30."""
    max_fee_gwei: int = Field(default=DEFAULTS.max_fee_cap // GWEI, gt=0)
    """The most that a transfer pays for each gas, in gwei; tip included. At that, the last
    transaction is sent again until it is mined."""
    cancel_max_fee_gwei: int = Field(default=DEFAULTS.cancel_cap // GWEI, gt=0)
    """The same of a transaction that cancels a transfer whose time is over: at least 1.25 times as
    much."""
    bump_after: timedelta = Field(default=DEFAULTS.bump_after, gt=timedelta(0))
    """How long a transfer's newest transaction may be in no block before its fees are raised; at
    once where they are below the base fee."""
    bump_after_blocks: int = Field(default=DEFAULTS.bump_after_blocks, ge=0)
    """And for how many blocks."""
    max_bumps: int = Field(default=DEFAULTS.max_bumps, ge=0)
    """How often the fees of a transfer are raised."""
    resend_after: timedelta = Field(default=DEFAULTS.resend_after, gt=timedelta(0))
    """How long after it was sent a transaction that is in no block is sent again unchanged."""
    resend_after_blocks: int = Field(default=DEFAULTS.resend_after_blocks, ge=0)
    """After so many blocks it is sent again where no node has it."""
    max_in_flight: int = Field(default=DEFAULTS.max_in_flight, gt=0, le=16)
    """How many transfers of an operator wallet may be in no block yet: nodes keep 16 of a wallet.
    """
    max_finality_lag: timedelta = Field(default=DEFAULTS.max_finality_lag, gt=timedelta(0))
    """While the finalized block is older, nothing is taken from proxies; what goes to them goes on.
    """
    max_head_lag: timedelta = Field(default=DEFAULTS.max_head_lag, gt=timedelta(0))
    """A node whose newest block is so much older than another node's is behind, and not asked."""

    @field_validator("extra_rpc_urls")
    @classmethod
    def _require_urls(cls, value: str) -> str:
        for number, each in enumerate(_split(value), start=1):
            try:
                URL.validate_python(each)
            except ValidationError as error:
                # The address itself may contain a key.
                raise ValueError(f"address {number} is none: {error.errors()[0]['msg']}") from None
        return value

    @model_validator(mode="after")
    def _require_room_to_cancel(self) -> Self:
        """A pool takes a cancel only at fees that are raised (decisions/fees.py)."""
        if 4 * self.cancel_max_fee_gwei < 5 * self.max_fee_gwei:
            raise ValueError(
                "TX_MONITOR_CANCEL_MAX_FEE_GWEI must be at least 1.25 times "
                "TX_MONITOR_MAX_FEE_GWEI: a transfer with the highest fees could not be cancelled"
            )
        return self

    @property
    def node_urls(self) -> tuple[str, ...]:
        """The addresses of all nodes, each once."""
        return tuple(dict.fromkeys((str(self.polygon_rpc_url), *_split(self.extra_rpc_urls))))

    def build_policy(self) -> Policy:
        return Policy(
            min_tip=self.min_tip_gwei * GWEI,
            max_fee_cap=self.max_fee_gwei * GWEI,
            cancel_cap=self.cancel_max_fee_gwei * GWEI,
            max_bumps=self.max_bumps,
            bump_after=self.bump_after,
            bump_after_blocks=self.bump_after_blocks,
            resend_after=self.resend_after,
            resend_after_blocks=self.resend_after_blocks,
            max_in_flight=self.max_in_flight,
            max_finality_lag=self.max_finality_lag,
            max_head_lag=self.max_head_lag,
        )


def _split(addresses: str) -> list[str]:
    return [each.strip() for each in addresses.split(",") if each.strip()]
