"""Reads the venue with one quick retry."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.domain.errors import InvalidMessage, Transient
from shared.messages.intents import Missing
from shared.polymarket.clob import NoMarket

T = TypeVar("T")

logger = logging.getLogger(__name__)

ATTEMPTS = 2
"""A single 500 is common, and must not cost an exit its price."""


async def fetch_twice(
    fetch: Callable[[], Awaitable[T]], *, what: str, timeout_s: float
) -> T | Missing:
    """Return what ``fetch`` returns, or why it could not be had. All attempts together take at most
    ``timeout_s``.
    """
    try:
        async with asyncio.timeout(timeout_s):
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    return await fetch()
                except (Transient, InvalidMessage) as error:
                    logger.warning("could not fetch %s, attempt %d: %s", what, attempt, error)
    except NoMarket:
        return Missing.NO_MARKET
    except TimeoutError:
        logger.warning("could not fetch %s within %.1f s", what, timeout_s)
    return Missing.UNAVAILABLE
