"""How can a service die at a named place? Its own code runs, wrapped: ``python -m
tests.crash_matrix.launch services.executor``.
"""

import asyncio
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import TopicPartition
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.ext.asyncio import AsyncTransaction

from shared.messages.base import Message
from tests.crash_matrix.boundaries import POINTS, POST, Moment, Point
from tests.crash_matrix.charges import VARIABLE, Charges

OPEN_SESSION = "shared.polymarket.clob:Clob._open"
WRONG_ORDERINGS = "tests.crash_matrix.wrong_orderings"
"""Imported where they are needed: the venue's client takes a second to import, and every cell
starts a process."""

Call = tuple[Point, Sequence[Any]]
_INSIDE: ContextVar[Call | None] = ContextVar("inside", default=None)
"""The wrapped call that is under way in this task."""


class Crossing:
    """Every boundary that this process passes; at the armed one it ends."""

    def __init__(self, charges: Charges) -> None:
        self._charges = charges

    def passes(self, moment: Moment, call: Call) -> None:
        point, arguments = call
        charge = self._charges.armed()
        if charge is None or charge.boundary != f"{point.service}: {moment} {point.name}":
            return
        if point.by == "anybody" or any(
            key in charge.keys for kind, key in told(arguments) if point.about in ("", kind)
        ):
            self._charges.strike(charge)

    def wrap(self, point: Point) -> None:
        owner, name = find(point.where)
        setattr(owner, name, self._wrapped(point, getattr(owner, name)))

    def _wrapped(self, point: Point, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def crossing(*arguments: Any, **named: Any) -> Any:
            self.passes(Moment.BEFORE, (point, arguments[1:]))
            result = original(*arguments, **named)
            self.passes(Moment.AFTER, (point, arguments[1:]))
            return result

        @functools.wraps(original)
        async def crossing_async(*arguments: Any, **named: Any) -> Any:
            call = (point, arguments[1:])
            self.passes(Moment.BEFORE, call)
            around = (
                _INSIDE.set(call)
                if set(point.moments) & {Moment.UNCOMMITTED, Moment.SENT}
                else None
            )
            try:
                result = await original(*arguments, **named)
            finally:
                if around is not None:
                    _INSIDE.reset(around)
            self.passes(Moment.AFTER, call)
            return result

        return crossing_async if inspect.iscoroutinefunction(original) else crossing

    def watch_transactions(self) -> None:
        """What leaves a transaction of a wrapped call has run its statements, and has not committed
        them.
        """
        leave = AsyncTransaction.__aexit__

        async def leaving(transaction: AsyncTransaction, *error: Any) -> None:
            if (call := _INSIDE.get()) is not None:
                self.passes(Moment.UNCOMMITTED, call)
            await leave(transaction, *error)

        AsyncTransaction.__aexit__ = leaving  # type: ignore[assignment, method-assign]

    def watch_statements(self) -> None:
        """What writes, within a wrapped call. asyncpg gives a statement's bytes to the connection
        before it waits for the first time.
        """
        fetch = PreparedStatement.fetch

        async def fetching(statement: PreparedStatement, *arguments: Any, **named: Any) -> Any:
            call = _INSIDE.get()
            if (
                call is not None
                and call[0].where != POST
                and not statement.get_query().lstrip().startswith("select")
            ):
                self._passes_when_sent(call)
            return await fetch(statement, *arguments, **named)

        PreparedStatement.fetch = fetching

    def watch_the_wire(self) -> None:
        trace = aiohttp.TraceConfig()
        trace.on_request_chunk_sent.append(self._sent)
        trace.freeze()
        clob_class, name = find(OPEN_SESSION)
        open_session = getattr(clob_class, name)

        def opened(clob: object) -> aiohttp.ClientSession:
            session: aiohttp.ClientSession = open_session(clob)
            if trace not in session.trace_configs:
                session.trace_configs.append(trace)
            return session

        setattr(clob_class, name, opened)

    async def _sent(self, *_: Any) -> None:
        if (call := _INSIDE.get()) is not None and call[0].where == POST:
            self._passes_when_sent(call)

    def _passes_when_sent(self, call: Call) -> None:
        """Bytes are handed to the kernel within two turns of the loop after they were given to the
        connection.
        """
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, loop.call_soon, self.passes, Moment.SENT, call)


def told(arguments: Any) -> Iterator[tuple[str, str]]:
    """What a call is about: type and key of its messages and records, its objects' proxy, topics
    and partitions.
    """
    if isinstance(arguments, Message):
        yield type(arguments).__name__, arguments.key().decode().lower()
    elif isinstance(arguments, str | int):
        yield from (("word", part.lower()) for part in str(arguments).split('"'))
    elif isinstance(arguments, TopicPartition):
        yield arguments.topic, str(arguments.partition)
    elif isinstance(arguments, Mapping | list | tuple):
        for each in arguments:
            yield from told(each)
    elif isinstance(proxy := getattr(arguments, "proxy", None), str):
        yield type(arguments).__name__, proxy.lower()
    elif isinstance(key := getattr(arguments, "key", None), bytes):
        yield dict(arguments.headers).get("type", b"").decode(), key.decode().lower()


def find(where: str) -> tuple[Any, str]:
    """The class and the name of what ``module:Class.name`` says. Raises: AttributeError,
    ImportError.
    """
    module, _, path = where.partition(":")
    owner, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), owner)
    getattr(found, name)
    return found, name


def main(service_module: str, folder: Path) -> None:
    charges = Charges(folder)
    crossing = Crossing(charges)
    service = service_module.removeprefix("services.").replace("_", "-")
    for point in POINTS:
        if point.service == service:
            crossing.wrap(point)
    crossing.watch_transactions()
    crossing.watch_statements()
    app = importlib.import_module(f"{service_module}.app")
    if service == "executor":
        crossing.watch_the_wire()
        if ordering := charges.ordering():
            app.Handler = importlib.import_module(WRONG_ORDERINGS).ORDERINGS[ordering]  # type: ignore[attr-defined]
    app.main()


if __name__ == "__main__":
    main(sys.argv[1], Path(os.environ[VARIABLE]))
