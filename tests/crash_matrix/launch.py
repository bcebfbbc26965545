"""Runs a service with its code wrapped so that it can die at a named boundary.

``python -m tests.crash_matrix.launch services.executor``
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

from aiokafka import TopicPartition
from asyncpg.connection import Connection
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.ext.asyncio import AsyncTransaction

from shared.db.rows import DirectRow
from shared.messages.base import Message
from tests.crash_matrix.boundaries import POINTS, POST, Moment, Point
from tests.crash_matrix.crash_switch import FOLDER_VARIABLE, CrashSwitch

EXCHANGE = "shared.polymarket.http_connection:HttpConnection.exchange"
WRONG_ORDERINGS = "tests.crash_matrix.wrong_orderings"
"""Imported only where needed: the venue's client takes a second to import, and every cell starts a
process."""

Call = tuple[Point, Sequence[Any]]
_INSIDE: ContextVar[Call | None] = ContextVar("inside", default=None)
"""The wrapped call that runs in this task; None: none does."""


class BoundaryHooks:
    """Sees every boundary that this process reaches, and triggers the armed crash."""

    def __init__(self, switch: CrashSwitch) -> None:
        self._switch = switch

    def reach(self, moment: Moment, call: Call) -> None:
        point, arguments = call
        crash = self._switch.armed_crash()
        if crash is None or crash.boundary != f"{point.service}: {moment} {point.name}":
            return
        if point.by == "anybody" or any(
            key in crash.keys
            for kind, key in call_subjects(arguments)
            if point.subject in ("", kind)
        ):
            self._switch.trigger(crash)

    def wrap(self, point: Point) -> None:
        owner, name = resolve_target(point.where)
        setattr(owner, name, self._wrap_function(point, getattr(owner, name)))

    def _wrap_function(self, point: Point, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.reach(Moment.BEFORE, (point, arguments[1:]))
            result = original(*arguments, **named)
            self.reach(Moment.AFTER, (point, arguments[1:]))
            return result

        @functools.wraps(original)
        async def wrapped_async(*arguments: Any, **named: Any) -> Any:
            call = (point, arguments[1:])
            self.reach(Moment.BEFORE, call)
            token = (
                _INSIDE.set(call)
                if set(point.moments) & {Moment.UNCOMMITTED, Moment.SENT}
                else None
            )
            try:
                result = await original(*arguments, **named)
            finally:
                if token is not None:
                    _INSIDE.reset(token)
            self.reach(Moment.AFTER, call)
            return result

        return wrapped_async if inspect.iscoroutinefunction(original) else wrapped

    def watch_transactions(self) -> None:
        """Reach UNCOMMITTED when a transaction of a wrapped call is left: its statements have run,
        and COMMIT comes next.
        """
        leave = AsyncTransaction.__aexit__

        async def leaving(transaction: AsyncTransaction, *error: Any) -> None:
            if (call := _INSIDE.get()) is not None:
                self.reach(Moment.UNCOMMITTED, call)
            await leave(transaction, *error)

        AsyncTransaction.__aexit__ = leaving  # type: ignore[assignment, method-assign]

    def watch_statements(self) -> None:
        """Reach SENT at a writing statement of a wrapped call. asyncpg gives the bytes of a
        statement that is prepared to the connection before it first waits.
        """
        fetch, execute = PreparedStatement.fetch, Connection._do_execute

        async def fetching(statement: PreparedStatement, *arguments: Any, **named: Any) -> Any:
            self._reach_if_writing(statement.get_query())
            return await fetch(statement, *arguments, **named)

        async def executing(
            connection: Connection,
            query: str,
            send: Callable[..., Any],
            *arguments: Any,
            **named: Any,
        ) -> Any:
            def sending(*prepared: Any) -> Any:
                if named.get("record_class") is DirectRow:  # else it is one of the driver's own
                    self._reach_if_writing(query)
                return send(*prepared)

            return await execute(connection, query, sending, *arguments, **named)

        PreparedStatement.fetch = fetching  # of SQLAlchemy
        Connection._do_execute = executing  # of the driver alone

    def _reach_if_writing(self, query: str) -> None:
        call = _INSIDE.get()
        is_read = query.lstrip().startswith("select")
        if call is not None and call[0].where != POST and not is_read:
            self._reach_once_sent(call)

    def watch_requests(self) -> None:
        """Reach SENT when the wrapped POST was sent: a connection is given all of its bytes before
        it first waits.
        """
        connection_class, name = resolve_target(EXCHANGE)
        exchange = getattr(connection_class, name)

        async def exchanging(connection: object, request: bytes, **named: Any) -> Any:
            call = _INSIDE.get()
            if call is not None and call[0].where == POST and request.startswith(b"POST"):
                self._reach_once_sent(call)
            return await exchange(connection, request, **named)

        setattr(connection_class, name, exchanging)

    def _reach_once_sent(self, call: Call) -> None:
        """Bytes reach the kernel within two iterations of the event loop after they were given to
        the connection.
        """
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, loop.call_soon, self.reach, Moment.SENT, call)


def call_subjects(arguments: Any) -> Iterator[tuple[str, str]]:
    """What a call is about, as pairs of a type or topic and a key: its messages and records, the
    proxies of its objects, its topics with their partitions, and its words.
    """
    if isinstance(arguments, Message):
        yield type(arguments).__name__, arguments.key().decode().lower()
    elif isinstance(arguments, str | int):
        yield from (("word", part.lower()) for part in str(arguments).split('"'))
    elif isinstance(arguments, TopicPartition):
        yield arguments.topic, str(arguments.partition)
    elif isinstance(arguments, Mapping | list | tuple):
        for each in arguments:
            yield from call_subjects(each)
    elif (proxy := _find_proxy(arguments)) is not None:
        yield type(arguments).__name__, proxy.lower()
    elif isinstance(key := getattr(arguments, "key", None), bytes):
        yield dict(arguments.headers).get("type", b"").decode(), key.decode().lower()


def _find_proxy(subject: object) -> str | None:
    """The proxy that an object of ours is about, or the verdict in it."""
    if isinstance(verdict := getattr(subject, "verdict", None), Message):
        return verdict.key().decode()
    proxy = getattr(subject, "proxy", None)
    return proxy if isinstance(proxy, str) else None


def resolve_target(target: str) -> tuple[Any, str]:
    """The class and the function's name of ``module:Class.function``.

    Raises: AttributeError, ImportError.
    """
    module, _, path = target.partition(":")
    class_name, _, name = path.rpartition(".")
    owner = getattr(importlib.import_module(module), class_name)
    getattr(owner, name)
    return owner, name


def main(service_module: str, folder: Path) -> None:
    switch = CrashSwitch(folder)
    hooks = BoundaryHooks(switch)
    service = service_module.removeprefix("services.").replace("_", "-")
    for point in POINTS:
        if point.service == service:
            hooks.wrap(point)
    hooks.watch_transactions()
    hooks.watch_statements()
    app = importlib.import_module(f"{service_module}.app")
    if service == "executor":
        hooks.watch_requests()
        if ordering := switch.ordering():
            app.Handler = importlib.import_module(WRONG_ORDERINGS).ORDERINGS[ordering]  # type: ignore[attr-defined]
    app.main()


if __name__ == "__main__":
    main(sys.argv[1], Path(os.environ[FOLDER_VARIABLE]))
