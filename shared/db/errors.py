"""What a failure of the database calls for: a repetition, another connection, or neither.

REMEDY_BY_SQLSTATE has every SQLSTATE that a restart, a failover, a pooler in between or an operator
can cause. What it does not have is a defect of ours, or settings that must be changed: it ends the
process, and whoever starts it again sees why.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.domain.errors import Transient


class Remedy(Enum):
    """What helps against a failure."""

    REPEAT = auto()
    """The same again, also on the same connection."""
    RECONNECT = auto()
    """The same again on a new connection: this one, and those that were opened before now, lead to
    a server that is gone or no longer the primary, or know what no longer holds."""


REMEDY_BY_SQLSTATE = {
    # The connection is gone; pgbouncer reports all its own errors as 08P01.
    "08": Remedy.RECONNECT,
    # read_only_sql_transaction: after a failover this connection leads to a standby.
    "25006": Remedy.RECONNECT,
    # The database ended a transaction that was idle (25P03) or open (25P04) for too long.
    "25P03": Remedy.RECONNECT,
    "25P04": Remedy.RECONNECT,
    # A prepared statement is not there, or there already: DISCARD ALL, or a pooler that gives each
    # transaction another connection.
    "26000": Remedy.RECONNECT,
    "42P05": Remedy.RECONNECT,
    # Serialization failure and deadlock.
    "40": Remedy.REPEAT,
    # Disk, memory or connections are used up.
    "53": Remedy.REPEAT,
    # object_not_in_prerequisite_state: the database accepts no connections, or still recovers.
    "55000": Remedy.RECONNECT,
    # object_in_use: an operator works on the database.
    "55006": Remedy.REPEAT,
    # lock_not_available: the lock timeout.
    "55P03": Remedy.REPEAT,
    # query_canceled: the statement timeout, or an operator's pg_cancel_backend.
    "57014": Remedy.REPEAT,
    # Operator intervention: shutdown, crash, start, dropped database, idle session.
    "57": Remedy.RECONNECT,
    # The server's machine: disk, files.
    "58": Remedy.RECONNECT,
    # internal_error: what DDL of others does to a session, as "cache lookup failed for type". Not
    # XX001 and XX002, which are damaged data.
    "XX000": Remedy.RECONNECT,
}
"""By SQLSTATE, or by its class: its first two characters."""


DATABASE_ERRORS = (
    DBAPIError,
    AsyncAdapt_asyncpg_dbapi.Error,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""Of SQLAlchemy, of what it has between itself and the driver, and of the driver."""


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raises: Transient instead of what a repetition may help against."""
    try:
        yield
    except Exception as error:
        if (transient := find_transient(error)) is not None:
            raise transient from error
        raise


def find_transient(error: BaseException) -> Transient | None:
    """What is raised instead of the error; None: a repetition does not help against it."""
    if isinstance(error, PoolTimeout):
        return Transient("no connection to the database was free in time")
    if isinstance(error, OSError | TimeoutError):
        return Transient(f"the database cannot be reached: {type(error).__name__}")
    if isinstance(error, DATABASE_ERRORS) and find_remedy(error) is not None:
        return Transient(f"the database reports a temporary error: {_describe(error)}")
    return None


def find_remedy(error: BaseException) -> Remedy | None:
    """What helps against an error of SQLAlchemy, its driver or the network; None: nothing of the
    two.
    """
    cause = find_cause(error)
    if isinstance(cause, OSError | TimeoutError):
        return Remedy.RECONNECT
    # SQLAlchemy has its statements prepared anew.
    if isinstance(cause, asyncpg.InvalidCachedStatementError):
        return Remedy.REPEAT
    # Among them what a column that was added does (OutdatedSchemaCacheError), and a failover that
    # has not happened yet (TargetServerAttributeNotMatched).
    if isinstance(cause, asyncpg.InternalClientError):
        return Remedy.RECONNECT
    if (state := _find_sqlstate(error, cause)) is not None:
        return REMEDY_BY_SQLSTATE.get(state) or REMEDY_BY_SQLSTATE.get(state[:2])
    is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if is_lost or isinstance(error, OperationalError | InterfaceError | asyncpg.InterfaceError):
        return Remedy.RECONNECT
    return None


def drop_connection_if_useless(context: ExceptionContext) -> None:
    """A listener of ``handle_error``: have the connection, and all that the pool opened before,
    replaced where the error calls for it.

    The connection is cut at once: a server that does not answer does not answer a farewell either.
    """
    if find_remedy(context.original_exception) is not Remedy.RECONNECT:
        return
    context.is_disconnect = True
    if context.connection is not None and not context.connection.invalidated:
        driver_connection = context.connection.connection.driver_connection
        if driver_connection is not None:
            driver_connection.terminate()


def find_cause(error: BaseException) -> BaseException:
    """The driver's own error, within what SQLAlchemy made of it."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    is_wrapped = not isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError)
    return error.__cause__ if is_wrapped and error.__cause__ is not None else error


def _find_sqlstate(*errors: BaseException | None) -> str | None:
    for error in errors:
        for each in (getattr(error, "orig", None), error):
            if (state := getattr(each, "sqlstate", None)) is not None:
                return str(state)
    return None


def _describe(error: BaseException) -> str:
    cause = find_cause(error)
    state = _find_sqlstate(error, cause)
    return type(cause).__name__ + (f" ({state})" if state is not None else "")
