"""Repeats an action at an interval while the venue runs."""

import asyncio
from collections.abc import Callable


async def repeated(every_s: float, act: Callable[[], None]) -> None:
    """Call ``act`` every ``every_s`` seconds until cancelled; raises what ``act`` raises."""
    while True:
        await asyncio.sleep(every_s)
        act()
