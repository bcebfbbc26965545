"""Publishes the entries of follows that mirror their leader.

The Data API says which tokens a leader holds and what they cost about; how many he holds is read
from the chain.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters.level_copies import Key, LevelCopies
from services.preflight.adapters.levels import load_tokens, save_bases
from services.preflight.adapters.reconciliation import ChainLevels, record_first_bases
from services.preflight.decisions.levels import (
    HeldToken,
    Reading,
    Step,
    mirrors,
)
from services.preflight.decisions.mirror import (
    decide_entry,
    first_unknown_base,
    is_unknown,
)
from services.preflight.handler import ControlsReader
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.follows import Controls, Follow
from shared.observe import metrics
from shared.polymarket.data_api import parse_position
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

Positions = Callable[[str], Awaitable[list[dict[str, Any]]]]


class MirrorFeed:
    """Compares what mirrored leaders hold with what is known of them, at a slow pace."""

    def __init__(
        self,
        engine: AsyncEngine,
        controls: ControlsReader,
        levels: ChainLevels,
        fetch_positions: Positions,
        *,
        owns: Callable[[str], bool],
        now: Callable[[], datetime],
        interval: timedelta,
        act_after: timedelta,
    ) -> None:
        self._engine, self._controls, self._levels = engine, controls, levels
        self._fetch_positions = fetch_positions
        self._owns, self._now = owns, now
        self._interval, self._act_after = interval, act_after
        self._copies = LevelCopies(engine, now=now)

    async def __call__(self, publish: Publish) -> None:
        while True:
            try:
                await self.compare(publish)
            except Transient as error:
                metrics.feed_frame(metrics.Feed.LEVELS, metrics.FrameKind.FAILED)
                logger.warning("mirrored leaders could not be compared, retrying: %s", error)
            await asyncio.sleep(self._interval.total_seconds())

    async def compare(self, publish: Publish) -> None:
        """One round. Raises: Transient, and nothing is concluded from what could not be read."""
        controls = self._controls.current()
        follows = [
            follow
            for follow in controls.follows_that_sell()
            if mirrors(follow) and self._owns(follow.proxy)
        ]
        prices = await self._fetch_prices(sorted({follow.leader for follow in follows}))
        wanted = [(each, token) for each in follows for token in prices.get(each.leader, ())]
        loaded = await load_tokens(self._engine, wanted, controls) if wanted else []
        held = [each for each in loaded if not each.is_under_way]
        readings = await self._levels.read(held) if held else {}
        await self._record_bases(held, readings)
        compared = [
            (each, readings[each.key], self._decide(each, readings[each.key], prices, controls))
            for each in held
            if each.base is not None
        ]
        await self._copies.act(compared, publish)

    async def _fetch_prices(self, leaders: Sequence[str]) -> dict[str, dict[str, Decimal]]:
        """By leader the prices of what he holds and can still be traded. A leader whose positions
        cannot be read is left out of this round.
        """
        prices: dict[str, dict[str, Decimal]] = {}
        for leader in leaders:
            try:
                rows = await self._fetch_positions(leader)
            except (Transient, InvalidMessage) as error:
                metrics.feed_frame(metrics.Feed.LEVELS, metrics.FrameKind.FAILED)
                logger.warning("the positions of leader %s could not be read: %s", leader, error)
                continue
            parsed = (_parse_or_skip(row, leader) for row in rows)
            prices[leader] = {each[0]: each[1] for each in parsed if each and 0 < each[1] < 1}
        return prices

    async def _record_bases(
        self, held: Sequence[HeldToken], readings: Mapping[Key, Reading]
    ) -> None:
        new = [each for each in held if each.base is None]
        unknown = [each for each in new if is_unknown(each)]
        now = self._now()
        await save_bases(
            self._engine, [(each, first_unknown_base(each)) for each in unknown], now=now
        )
        known = [each for each in new if not is_unknown(each)]
        await record_first_bases(self._engine, self._levels, known, readings, now=now)

    def _decide(
        self,
        held: HeldToken,
        reading: Reading,
        prices: Mapping[str, Mapping[str, Decimal]],
        controls: Controls,
    ) -> Step:
        follow: Follow = held.follow
        return decide_entry(
            held,
            reading,
            price=prices[follow.leader][held.token_id],
            mode=controls.mode(leader=follow.leader, proxy=follow.proxy),
            pending=self._copies.pending(held),
            act_after=self._act_after,
            now=self._now(),
        )


def _parse_or_skip(row: dict[str, Any], leader: str) -> tuple[str, Decimal] | None:
    """The token and its price; None where the row cannot be read."""
    try:
        return parse_position(row)
    except InvalidMessage as error:
        metrics.feed_frame(metrics.Feed.LEVELS, metrics.FrameKind.MALFORMED)
        logger.warning("a position of leader %s is left out: %s", leader, error)
        return None
