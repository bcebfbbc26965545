"""Reports follows that mirror their leader where nothing says what he holds."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from services.preflight.decisions.levels import mirrors
from shared.domain.follows import Controls
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)


class KnownControls(Protocol):
    def known(self) -> Controls:
        """The newest controls that were read, confirmed or not."""
        ...


class UnmirroredCheck:
    """Logs an error while this instance's follows mirror their leaders and no Data API is set."""

    def __init__(
        self, controls: KnownControls, *, owns: Callable[[str], bool], interval: timedelta
    ) -> None:
        self._controls, self._owns, self._interval = controls, owns, interval

    async def __call__(self, _: Publish) -> None:
        while True:
            self.check()
            await asyncio.sleep(self._interval.total_seconds())

    def check(self) -> None:
        count = sum(
            mirrors(follow) and self._owns(follow.proxy)
            for follow in self._controls.known().follows_that_sell()
        )
        if count:
            logger.error(
                "%d follows mirror their leader, but DATA_URL is not set: they enter by his trades "
                "alone, and do not buy what he holds",
                count,
            )
