"""Logs of final blocks as messages. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from shared.chain.blocks import Block
from shared.chain.fill_reader import FillSpan
from shared.chain.logs import MAX_AMOUNT, OrderFilledLog
from shared.domain.errors import Transient
from shared.messages.transactions import ChainFill, FillsSettled


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A follower's fills in one block that are not published, because one of them is unusable."""

    proxy: str
    block_number: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledSpan:
    """What a span of blocks becomes."""

    messages: tuple[FillsSettled, ...]
    """In the order of the blocks."""
    left_out: tuple[LeftOut, ...]


def list_blocks(span: FillSpan) -> list[int]:
    """The numbers of the blocks with fills, in order."""
    return sorted({fill.block_number for fill in span.fills})


def build_settled(
    span: FillSpan, *, wallets: Collection[str], blocks: Mapping[int, Block]
) -> SettledSpan:
    """Build a message for each of these wallets and each block with fills of its orders.
    ``blocks``: those of ``list_blocks``, by their numbers.

    Where one of its logs is unusable, nothing of the wallet is published of that block: what its
    orders gave and received there would not be all of it. Raises: Transient where the answers of
    the node contradict each other.
    """
    reasons = {(each.block_number, each.maker): each.reason for each in span.unreadable}
    groups: dict[tuple[int, str], list[OrderFilledLog]] = {}
    for fill in _without_repetitions(span.fills, blocks):
        groups.setdefault((fill.block_number, fill.maker), []).append(fill)
        if max(fill.maker_amount, fill.taker_amount, fill.fee) > MAX_AMOUNT:
            key = fill.block_number, fill.maker
            reasons.setdefault(key, f"impossible amounts in {fill.tx_hash}")
    return SettledSpan(
        messages=tuple(
            _build_message(fills, proxy=proxy, block=blocks[number])
            for (number, proxy), fills in groups.items()
            if proxy in wallets and (number, proxy) not in reasons
        ),
        left_out=tuple(
            LeftOut(proxy=proxy, block_number=number, reason=reason)
            for (number, proxy), reason in sorted(reasons.items())
            if proxy in wallets
        ),
    )


def _without_repetitions(
    fills: Sequence[OrderFilledLog], blocks: Mapping[int, Block]
) -> list[OrderFilledLog]:
    """Each log once. Raises: Transient where two differ, or one is of another block."""
    by_position: dict[tuple[int, int], OrderFilledLog] = {}
    for fill in fills:
        if fill.block_hash.lower() != blocks[fill.block_number].hash.lower():
            raise Transient(f"the node's log is of another block {fill.block_number} than its own")
        known = by_position.setdefault((fill.block_number, fill.log_index), fill)
        if known != fill:
            raise Transient(f"the node has two logs {fill.log_index} of block {fill.block_number}")
    return list(by_position.values())


def _build_message(fills: Sequence[OrderFilledLog], *, proxy: str, block: Block) -> FillsSettled:
    # In one spelling, whichever node answered.
    block_hash = block.hash.lower()
    mined_at = datetime.fromtimestamp(block.timestamp, UTC)
    return FillsSettled(
        message_id=f"{proxy}:{block_hash}:fills",
        occurred_at=mined_at,
        proxy=proxy,
        block_number=block.number,
        block_hash=block_hash,
        mined_at=mined_at,
        fills=tuple(map(_build_fill, fills)),
    )


def _build_fill(fill: OrderFilledLog) -> ChainFill:
    return ChainFill(
        order_hash=fill.order_hash.lower(),
        transaction_hash=fill.tx_hash.lower(),
        log_index=fill.log_index,
        side=fill.side,
        token_id=str(fill.token_id),
        shares=fill.shares,
        usdc=fill.usdc,
        fee_usdc=fill.fee,
    )
