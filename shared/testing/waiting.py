"""Wait for something real to happen, instead of sleeping and hoping."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any


async def eventually(condition: Callable[[], Any], *, within: float = 60, what: str = "") -> Any:
    """Ask until ``condition`` answers something true; return that. Raises: AssertionError at the
    deadline with the last answer.
    """
    deadline = asyncio.get_running_loop().time() + within
    while True:
        asked = condition()
        answer = await asked if inspect.isawaitable(asked) else asked
        if answer:
            return answer
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(
                f"not within {within} s: {what or inspect.getsource(condition).strip()} (last answer: {answer!r})"
            )
        await asyncio.sleep(0.02)
