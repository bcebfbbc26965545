"""How patient tx-monitor is with a transfer, and what it pays for one."""

from dataclasses import dataclass
from datetime import timedelta

GWEI = 10**9
"""In wei."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The limits that the decisions about transfers keep. Fees are in wei for each gas."""

    min_tip: int = 30 * GWEI
    """Many providers take no transaction with less, and the pools none below 25 gwei."""
    max_fee_cap: int = 1_500 * GWEI
    """Of an attempt that transfers."""
    cancel_cap: int = 3_000 * GWEI
    """Of an attempt that cancels."""
    max_bumps: int = 8
    """How many more attempts there are after the first of a kind."""
    bump_after: timedelta = timedelta(seconds=8)
    """So long, and so many blocks, the newest attempt has to be mined."""
    bump_after_blocks: int = 5
    resend_after: timedelta = timedelta(seconds=30)
    """The same bytes are sent again after so long, whatever the nodes have."""
    resend_after_blocks: int = 3
    """And after so many blocks, where no node has them."""
    max_in_flight: int = 8
    """Transfers of an operator wallet that are in no block: pools hold only 16 of a wallet."""
    max_finality_lag: timedelta = timedelta(seconds=60)
    """While the finalized block is older, nothing is begun that takes from a proxy."""
    lookups_until_lost: int = 3
    """Rounds in a row in which no attempt is found although its nonce was used."""
    max_head_lag: timedelta = timedelta(seconds=10)
    """A node whose head is so much older than the newest head is behind: what it says counts
    for nothing."""
    gas_margin_percent: int = 125
    """The gas limit of a transaction, of what the node estimates."""
