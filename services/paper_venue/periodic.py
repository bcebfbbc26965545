"""What has to be done again and again while the venue runs?"""

import asyncio
from collections.abc import Callable


async def repeated(every_s: float, act: Callable[[], None]) -> None:
    """Until cancelled; raises what ``act`` raises."""
    while True:
        await asyncio.sleep(every_s)
        act()
