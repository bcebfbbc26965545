"""Waits for a condition in a test, instead of sleeping for a fixed time."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any


async def eventually(
    condition: Callable[[], Any], *, within: float = 60, what: str | Callable[[], str] = ""
) -> Any:
    """Call ``condition`` until it returns something true, and return that.

    ``what`` names what is waited for; a function may add what is there instead.
    Raises: AssertionError after ``within`` seconds, with the last result.
    """
    deadline = asyncio.get_running_loop().time() + within
    while True:
        result = condition()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return result
        if asyncio.get_running_loop().time() > deadline:
            named = what() if callable(what) else what
            raise AssertionError(
                f"not within {within} s: {named or inspect.getsource(condition).strip()} "
                f"(last result: {result!r})"
            )
        await asyncio.sleep(0.02)
