"""Reads the fills of many wallets from the exchanges' logs, whatever a node's limits are."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from shared.chain.blocks import Block
from shared.chain.limits import Limit
from shared.chain.logs import (
    OrderFilledLog,
    UnreadableFill,
    decode_order_fills,
    decode_order_fills_or_failures,
    maker_topics,
)
from shared.chain.rpc import AnswersMissing, NoAnswer, NodeRefused, Request, Rpc
from shared.domain.errors import Transient

MIN_BLOCKS = 16
"""A node that does not answer is asked for so many at least: fewer take it hardly less time."""
MAX_MAKERS = 1_000
"""Wallets in one filter: nodes take as many topics per position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillSpan:
    """What happened in a span of blocks."""

    fills: list[OrderFilledLog]
    """In chain order, and complete but for ``unreadable``."""
    through_block: int
    """The last block of the span."""
    unreadable: tuple[UnreadableFill, ...] = ()
    """Of these wallets: what could not be read of their fills, where one by one was read."""


class FillReader:
    """Asks in spans of blocks and groups of wallets. What the node refuses is halved; the sizes
    that work are remembered.
    """

    def __init__(self, rpc: Rpc, *, exchanges: Sequence[str], block_span: int) -> None:
        self._rpc, self._exchanges = rpc, list(exchanges)
        self._blocks, self._makers = Limit(block_span), Limit(MAX_MAKERS)

    async def read(
        self, from_block: int, to_block: int, makers: Sequence[str], *, final: Block | None = None
    ) -> AsyncIterator[FillSpan]:
        """Yield these wallets' fills from ``from_block`` to ``to_block``, both included, span after
        span. ``final``: a later block that every answering node must have, with this hash; then a
        log that cannot be read fails alone.

        Raises: Transient, also when the node has not seen a span's last block; NodeRefused where it
        refuses even one block and one wallet.
        """
        start, blocks, group = from_block, self._blocks.value, self._makers.value
        while start <= to_block:
            end = min(start + blocks - 1, to_block)
            used_blocks, used_makers = end - start + 1, min(group, len(makers))
            try:
                logs = await self._fetch(start, end, makers, group, seen_block=final or end)
            except (NodeRefused, AnswersMissing) as error:
                blocks, group = _reduce(error, blocks=used_blocks, makers=used_makers)
                continue
            except NoAnswer:
                # The next attempt is the caller's: as many blocks may take as long.
                self._blocks.lower(minimum=MIN_BLOCKS)
                raise
            span = _decode(logs, start, end, one_by_one=final is not None)
            self._blocks.worked(blocks, used=used_blocks)
            self._makers.worked(group, used=used_makers)
            yield span
            start, blocks, group = end + 1, self._blocks.value, self._makers.value

    async def _fetch(
        self, start: int, end: int, makers: Sequence[str], group: int, *, seen_block: int | Block
    ) -> list[Any]:
        """Each chunk's logs, as JSON-RPC gives them."""
        chunks = []
        for first in range(0, len(makers), group):
            log_filter = {
                "fromBlock": hex(start),
                "toBlock": hex(end),
                "address": self._exchanges,
                "topics": maker_topics(makers[first : first + group]),
            }
            request: Request = ("eth_getLogs", [log_filter])
            # Behind a load balancer the node asked for logs may lag behind the one that reported
            # the head, and would then answer with no logs.
            chunks += await self._rpc.call_batch([request], seen_block=seen_block)
        return chunks


def _decode(chunks: Sequence[Any], start: int, end: int, *, one_by_one: bool) -> FillSpan:
    """Raises: Transient; where logs are read one by one, only for those that are of nobody."""
    decode = decode_order_fills_or_failures if one_by_one else decode_order_fills
    decoded = [each for logs in chunks for each in decode(logs)]
    if not all(start <= each.block_number <= end for each in decoded):
        raise Transient(f"the node's logs are not all of blocks {start} to {end}")
    fills = [each for each in decoded if isinstance(each, OrderFilledLog)]
    return FillSpan(
        fills=sorted(fills, key=lambda fill: (fill.block_number, fill.log_index)),
        through_block=end,
        unreadable=tuple(each for each in decoded if isinstance(each, UnreadableFill)),
    )


def _reduce(error: NodeRefused | AnswersMissing, *, blocks: int, makers: int) -> tuple[int, int]:
    """How many blocks and wallets to ask for after this refusal. Raises: the error where nothing
    is left to halve, or it has another reason than the size.
    """
    if not error.may_be_size or (blocks == 1 and makers == 1):
        raise error
    if makers > 1 and (blocks == 1 or "topic" in str(error).lower()):
        return blocks, makers // 2
    return max(1, blocks // 2), makers
