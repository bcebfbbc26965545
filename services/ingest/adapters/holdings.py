"""Reads on the chain what a leader held of a token right before he sold it."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from services.ingest.decisions import OtherTrade, sum_missing_changes
from shared.chain.blocks import Receipt
from shared.chain.client import ChainClient
from shared.chain.logs import decode_receipt_fills
from shared.domain.money import Side
from shared.messages.leader_fills import LeaderFillSeen

RECENT_BLOCKS = 32
"""For how many blocks back a balance is read as it was: nodes that are no archives keep the states
of little more than a hundred."""


class ChainHoldings:
    """Two round trips to the node: its latest block, then the balance in that block and the
    receipts; and a third one where the trade is in a block already.

    The receipts are read after the block, so that a transaction that is mined meanwhile is counted
    once: the balance does not show it, and its receipt says a later block. They are asked for in
    one batch with the balance, which a node that lags behind the block refuses.
    """

    def __init__(self, chain: ChainClient, *, exchanges: Collection[str]) -> None:
        """``exchanges``: whose events in a receipt are fills."""
        self._chain, self._exchanges = chain, exchanges

    async def fetch_held_before(self, fill: LeaderFillSeen, earlier: Sequence[OtherTrade]) -> int:
        head = await self._chain.fetch_latest_block()
        head_at = datetime.fromtimestamp(head.timestamp, UTC)
        asked = [other for other in earlier if other.may_be_missing(fill, block_at=head_at)]
        shares, (own, *receipts) = await self._chain.fetch_shares_and_receipts(
            fill.leader,
            int(fill.token_id),
            block_number=head.number,
            tx_hashes=[fill.transaction_hash, *(other.transaction_hash for other in asked)],
        )
        mined_in = list(zip(asked, map(_mined_in, receipts), strict=True))
        block_number, mined = head.number, _mined_in(own)
        if own is not None and mined is not None and mined <= head.number:
            if head.number - mined > RECENT_BLOCKS:
                shares += _sum_sold(own, fill, exchanges=self._exchanges)
            else:
                block_number = mined - 1
                shares, _ = await self._chain.fetch_shares_and_receipts(
                    fill.leader, int(fill.token_id), block_number=block_number
                )
        return shares + sum_missing_changes(mined_in, block_number=block_number)


def _mined_in(receipt: Receipt | None) -> int | None:
    """The block of a transaction that succeeded. The balance shows no other."""
    return receipt.block_number if receipt is not None and receipt.succeeded else None


def _sum_sold(receipt: Receipt, fill: LeaderFillSeen, *, exchanges: Collection[str]) -> int:
    """Micro-shares of the token that the leader sold in the transaction."""
    return sum(
        log.shares
        for log in decode_receipt_fills(receipt.logs, exchanges=exchanges)
        if (log.maker, log.token_id, log.side) == (fill.leader, int(fill.token_id), Side.SELL)
    )
