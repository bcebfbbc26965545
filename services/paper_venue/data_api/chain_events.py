"""Decodes the chain's logs into transactions with their fills, transfers, redemptions and payouts.

Pure: takes logs as eth_getLogs returns them, gives whole transactions in chain order. A failed
transaction has no logs, so it never appears here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from eth_abi.abi import decode
from eth_utils.address import to_checksum_address

from services.paper_venue.exchange.orders import condition_key
from shared.chain.addresses import (
    CONDITIONAL_TOKENS,
    LIVE_EXCHANGES,
    POSITION_MANAGER,
    PUSD,
    SECOND_NEG_RISK_EXCHANGE_V2,
)
from shared.chain.logs import ORDER_FILLED, OrderFilledLog, decode_order_filled

TRANSFER_SINGLE: Final = "0xc3d58168c5ae7397731d063d5bbf3d657854427343f4c083240f7aacaa2d0f62"
TRANSFER_BATCH: Final = "0x4a39dc06d4c0dbc64b70af90fd698a233a518aa5d07e595d983b8c0526c8f7fb"
TRANSFER: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
PAYOUT_REDEMPTION: Final = "0x2682012a4a4f1973119f1c9b90745d1bd91fa2bab387344f044cb3586864d18d"
CONDITION_RESOLUTION: Final = "0xb44d84d3289691f71497564b85d4233648d9dbae8cbdbb4329f301c3a0185894"
"""The event of ConditionalTokens, with the number of outcomes before the payouts."""
CONDITION_RESOLUTION_V2: Final = (
    "0xd1c30ff7e52fe2d32df4ff58997e80a0f87dcc6fc28fc293ef229af9eaab2ea6"
)
"""The event of PositionManager, with the payouts alone."""

TOPICS: Final = (
    ORDER_FILLED,
    TRANSFER_SINGLE,
    TRANSFER_BATCH,
    TRANSFER,
    PAYOUT_REDEMPTION,
    CONDITION_RESOLUTION,
    CONDITION_RESOLUTION_V2,
)
CONTRACTS: Final = (
    *LIVE_EXCHANGES,
    SECOND_NEG_RISK_EXCHANGE_V2,
    CONDITIONAL_TOKENS,
    POSITION_MANAGER,
    PUSD,
)

ZERO_ADDRESS: Final = "0x0000000000000000000000000000000000000000"
"""The sender of a mint and the receiver of a burn, of shares or pUSD."""

Log = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareTransfer:
    """An ERC-1155 transfer: micro-shares of one token."""

    token_id: str
    sender: str
    receiver: str
    shares: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PusdTransfer:
    """An ERC-20 transfer of micro-pUSD."""

    sender: str
    receiver: str
    amount: int


@dataclass(slots=True, kw_only=True)
class ChainTransaction:
    """What one transaction did. ``timestamp``: of its block, seconds since 1970; ``indexed_at_ms``:
    when it was added to the index.
    """

    hash: str
    block_number: int
    timestamp: int
    indexed_at_ms: int = 0
    fills: list[OrderFilledLog] = field(default_factory=list)
    share_transfers: list[ShareTransfer] = field(default_factory=list)
    pusd_transfers: list[PusdTransfer] = field(default_factory=list)
    payouts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Payout numerators (yes, no) of the conditions that it resolved, by `condition_key`."""
    redeemed: set[str] = field(default_factory=set)
    """Conditions of which it redeemed shares, by `condition_key`."""

    @property
    def wallets(self) -> set[str]:
        """The wallets whose orders it filled."""
        return {fill.maker for fill in self.fills}


def decode_transactions(logs: Iterable[Log]) -> list[ChainTransaction]:
    """The transactions of these logs, in their order; logs that the node marks as removed are left
    out. Raises: MalformedLog.
    """
    valid_logs = (log for log in logs if not log.get("removed", False))
    return [
        _build_transaction(tx_hash, list(own))
        for tx_hash, own in groupby(valid_logs, key=lambda log: str(log["transactionHash"]))
    ]


def _build_transaction(tx_hash: str, logs: Sequence[Log]) -> ChainTransaction:
    first = logs[0]
    transaction = ChainTransaction(
        hash=tx_hash.lower(),
        block_number=int(first["blockNumber"], 16),
        timestamp=int(first["blockTimestamp"], 16),
    )
    for log in logs:
        _READER_BY_TOPIC[log["topics"][0]](transaction, log)
    return transaction


def _read_fill(transaction: ChainTransaction, log: Log) -> None:
    fill = decode_order_filled(log)
    if fill.shares > 0 and fill.usdc > 0:
        transaction.fills.append(fill)


def _read_single(transaction: ChainTransaction, log: Log) -> None:
    token, shares = decode(["uint256", "uint256"], _data(log))
    transaction.share_transfers.append(_build_share_transfer(log, token, shares))


def _read_batch(transaction: ChainTransaction, log: Log) -> None:
    tokens, amounts = decode(["uint256[]", "uint256[]"], _data(log))
    transaction.share_transfers += [
        _build_share_transfer(log, token, shares)
        for token, shares in zip(tokens, amounts, strict=True)
    ]


def _read_pusd_transfer(transaction: ChainTransaction, log: Log) -> None:
    transfer = PusdTransfer(
        sender=_address(log["topics"][1]),
        receiver=_address(log["topics"][2]),
        amount=int(log["data"], 16),
    )
    transaction.pusd_transfers.append(transfer)


def _read_redemption(transaction: ChainTransaction, log: Log) -> None:
    (condition_id, *_) = decode(["bytes32", "uint256[]", "uint256"], _data(log))
    transaction.redeemed.add(condition_key("0x" + condition_id.hex()))


def _read_resolution(transaction: ChainTransaction, log: Log) -> None:
    _, payouts = decode(["uint256", "uint256[]"], _data(log))
    transaction.payouts[condition_key(log["topics"][1])] = payouts


def _read_resolution_v2(transaction: ChainTransaction, log: Log) -> None:
    (payouts,) = decode(["uint256[]"], _data(log))
    transaction.payouts[condition_key(log["topics"][1])] = payouts


_READER_BY_TOPIC: Final = {
    ORDER_FILLED: _read_fill,
    TRANSFER_SINGLE: _read_single,
    TRANSFER_BATCH: _read_batch,
    TRANSFER: _read_pusd_transfer,
    PAYOUT_REDEMPTION: _read_redemption,
    CONDITION_RESOLUTION: _read_resolution,
    CONDITION_RESOLUTION_V2: _read_resolution_v2,
}


def _build_share_transfer(log: Log, token: int, shares: int) -> ShareTransfer:
    return ShareTransfer(
        token_id=str(token),
        sender=_address(log["topics"][2]),
        receiver=_address(log["topics"][3]),
        shares=shares,
    )


def _address(topic: str) -> str:
    return to_checksum_address("0x" + topic[-40:])


def _data(log: Log) -> bytes:
    return bytes.fromhex(log["data"].removeprefix("0x"))
