"""Closes a Kafka client also when Kafka cannot be reached."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0


async def close_with_timeout(what: str, closing: Coroutine[Any, Any, None]) -> None:
    """Wait until a client is closed, for at most ``CLOSE_TIMEOUT_S``, and log how it failed.

    aiokafka also raises the cancellations of its own tasks. Nothing is lost by a failure: no offset
    of an unacknowledged message was committed, and the group notices that a member has left.
    """
    task = asyncio.create_task(closing)
    await asyncio.wait((task,), timeout=CLOSE_TIMEOUT_S)
    if not task.done():
        task.cancel()
        logger.warning(
            "the Kafka %s did not close within %.0f s and is abandoned", what, CLOSE_TIMEOUT_S
        )
    elif task.cancelled() or task.exception() is not None:
        why = "a cancellation" if task.cancelled() else type(task.exception()).__name__
        logger.warning("the Kafka %s failed to close: %s", what, why)
