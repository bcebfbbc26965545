"""Compares what leaders hold on the chain with what follows hold by copying them, at a slow pace,
and publishes the exits that are missing as intents.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters.level_copies import Key, LevelCopies
from services.preflight.adapters.levels import load_held_tokens, save_bases
from services.preflight.decisions.expectations import is_unsettled
from services.preflight.decisions.levels import (
    Base,
    HeldToken,
    IntendCopy,
    Reading,
    Step,
    Wait,
)
from services.preflight.decisions.reconciliation import decide, first_base
from services.preflight.handler import ControlsReader
from shared.chain.blocks import Block
from shared.chain.client import ChainClient
from shared.chain.rpc import NodeRefused
from shared.domain.errors import Transient
from shared.domain.follows import Controls
from shared.observe import metrics
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

RECENT_BLOCKS = 100
"""For how many blocks back a balance is asked for as it was: nodes that are no archives keep the
states of little more."""
BLOCKS_BEHIND_HEAD = 5
"""A block of that depth is hardly reorganized, and nodes behind a load balancer have all seen it.
Receipts say on which side of it a trade is: one that moved to another block must not count twice.
"""


class ChainLevels:
    """Reads the balances of leaders, all at one block."""

    def __init__(self, chain: ChainClient) -> None:
        self._chain = chain

    async def read(self, held: Sequence[HeldToken]) -> dict[Key, Reading]:
        """The readings by follow and token. The receipts are read after the block, so that each
        trade that the balances show has one. Raises: Transient.
        """
        head = await self._chain.fetch_latest_block()
        (block,) = await self._chain.fetch_blocks([max(0, head.number - BLOCKS_BEHIND_HEAD)])
        queries = list(dict.fromkeys(map(_balance_query, held)))
        shares = await self._chain.fetch_shares_at(queries, block_number=block.number)
        by_query = dict(zip(queries, shares, strict=True))
        mined_in = await self._fetch_mined(held)
        return {
            each.key: _build_reading(each, block, by_query[_balance_query(each)], mined_in)
            for each in held
        }

    async def read_earlier(
        self, held: Sequence[HeldToken], readings: Mapping[Key, Reading]
    ) -> dict[Key, int]:
        """What the leaders held at the block of their newest accounted trade; absent where the node
        does not know it any more. Raises: Transient.
        """
        by_block: dict[int, list[HeldToken]] = {}
        for each in held:
            mined_in = newest_accounted_block(each, readings[each.key])
            if mined_in is not None and readings[each.key].block_number - mined_in <= RECENT_BLOCKS:
                by_block.setdefault(mined_in, []).append(each)
        shares: dict[Key, int] = {}
        for block_number, group in by_block.items():
            try:
                balances = await self._chain.fetch_shares_at(
                    list(map(_balance_query, group)), block_number=block_number
                )
            except NodeRefused as error:
                if error.is_about_access:
                    raise
                logger.info("the node has no balances as of block %d: %s", block_number, error)
                continue
            shares.update(zip((each.key for each in group), balances, strict=True))
        return shares

    async def _fetch_mined(self, held: Sequence[HeldToken]) -> dict[str, int | None]:
        """The block by transaction; None: in none, or it failed there."""
        hashes = list(
            dict.fromkeys(
                trade.transaction_hash
                for each in held
                for trade in (each.trades if each.base is None else each.accounted)
            )
        )
        receipts = await self._chain.fetch_receipts(hashes)
        return {
            tx_hash: receipt.block_number if receipt is not None and receipt.succeeded else None
            for tx_hash, receipt in zip(hashes, receipts, strict=True)
        }


class ReconciliationFeed:
    """Compares the levels of this instance's followers again and again."""

    def __init__(
        self,
        engine: AsyncEngine,
        controls: ControlsReader,
        levels: ChainLevels,
        *,
        owns: Callable[[str], bool],
        now: Callable[[], datetime],
        interval: timedelta,
        act_after: timedelta,
    ) -> None:
        self._engine, self._controls, self._levels = engine, controls, levels
        self._owns, self._now = owns, now
        self._interval, self._act_after = interval, act_after
        self._copies = LevelCopies(engine, now=now)

    async def __call__(self, publish: Publish) -> None:
        while True:
            try:
                await self.compare(publish)
            except Transient as error:
                metrics.feed_frame(metrics.Feed.LEVELS, metrics.FrameKind.FAILED)
                logger.warning("leaders' holdings could not be compared, retrying: %s", error)
            await asyncio.sleep(self._interval.total_seconds())

    async def compare(self, publish: Publish) -> None:
        """One round. Raises: Transient, and nothing is concluded from what could not be read."""
        controls = self._controls.current()
        follows = [each for each in controls.follows_that_sell() if self._owns(each.proxy)]
        loaded = await load_held_tokens(self._engine, follows, controls) if follows else []
        held = [each for each in loaded if not each.is_under_way]
        readings = await self._levels.read(held) if held else {}
        new = [each for each in held if each.base is None]
        await record_first_bases(self._engine, self._levels, new, readings, now=self._now())
        compared = [
            (each, readings[each.key], self._decide(each, readings[each.key], controls))
            for each in held
            if each.base is not None
        ]
        metrics.levels_lower(sum(isinstance(step, Wait | IntendCopy) for _, _, step in compared))
        await self._copies.act(compared, publish)

    def _decide(self, held: HeldToken, reading: Reading, controls: Controls) -> Step:
        leader, proxy = held.follow.leader, held.follow.proxy
        return decide(
            held,
            reading,
            mode=controls.mode(leader=leader, proxy=proxy),
            closing_version=controls.closing_version(leader=leader, proxy=proxy),
            pending=self._copies.pending(held),
            act_after=self._act_after,
            now=self._now(),
        )


async def record_first_bases(
    engine: AsyncEngine,
    levels: ChainLevels,
    held: Sequence[HeldToken],
    readings: Mapping[Key, Reading],
    *,
    now: datetime,
) -> None:
    """They are compared from the next round on. Raises: Transient."""
    settled = [
        each
        for each in held
        if not any(is_unsettled(trade, readings[each.key], now=now) for trade in each.accounted)
    ]
    shares = await levels.read_earlier(settled, readings) if settled else {}
    bases: list[tuple[HeldToken, Base]] = []
    for each in settled:
        shares_then, reading = shares.get(each.key), readings[each.key]
        bases.append((each, first_base(each, shares_then=shares_then, reading=reading)))
        if shares_then is None:
            logger.info(
                "what the leader held when his last trade was accounted for is not known any "
                "more, compared from now on: follow %s, token %s, block %d",
                *each.key,
                reading.block_number,
            )
    await save_bases(engine, bases, now=now)


def newest_accounted_block(held: HeldToken, reading: Reading) -> int | None:
    """The block of the newest accounted trade; None: there is none, or it is in no block."""
    newest = max(held.accounted, key=lambda trade: trade.judged_at, default=None)
    return None if newest is None else reading.mined_in.get(newest.transaction_hash)


def _balance_query(held: HeldToken) -> tuple[str, int]:
    return held.follow.leader, int(held.leader_token_id)


def _build_reading(
    held: HeldToken, block: Block, shares: int, mined_in: Mapping[str, int | None]
) -> Reading:
    return Reading(
        block_number=block.number,
        block_at=datetime.fromtimestamp(block.timestamp, UTC),
        leader_shares=shares,
        mined_in={
            trade.transaction_hash: mined_in.get(trade.transaction_hash) for trade in held.trades
        },
    )
