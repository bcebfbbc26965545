"""Runs an action periodically."""

import asyncio
from collections.abc import Callable


async def run_periodically(interval_s: float, action: Callable[[], None]) -> None:
    """Run ``action`` every ``interval_s`` seconds until cancelled; raises what it raises."""
    while True:
        await asyncio.sleep(interval_s)
        action()
