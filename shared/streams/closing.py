"""How is a Kafka client closed when Kafka may be away?"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)

CLOSE_WITHIN_S = 5.0


async def close_with_timeout(what: str, closing: Coroutine[Any, Any, None]) -> None:
    """Wait for a client to close, but not for ever, and whatever it fails with (aiokafka also lets
    the cancellations of its own tasks out).

    What it could not do is not lost: nothing unacknowledged has been passed, and the group finds
    out by itself that a member has gone.
    """
    task = asyncio.create_task(closing)
    await asyncio.wait((task,), timeout=CLOSE_WITHIN_S)
    if not task.done():
        task.cancel()
        log.warning("the %s was still closing after %.0f s and is given up", what, CLOSE_WITHIN_S)
    elif task.cancelled() or task.exception() is not None:
        why = "a cancellation of its own" if task.cancelled() else type(task.exception()).__name__
        log.warning("the %s closed with %s", what, why)
