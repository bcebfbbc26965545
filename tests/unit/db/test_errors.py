"""Which failures of the database are worth a repetition, and which need another connection."""

from typing import Any

import asyncpg
import pytest
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.db.errors import Remedy, find_remedy, find_transient, translated_errors
from shared.domain.errors import Transient

DRIVER_ERRORS: dict[str, Any] = {
    kind.sqlstate: kind
    for kind in vars(asyncpg.exceptions).values()
    if hasattr(kind, "sqlstate") and isinstance(kind.sqlstate, str)
}


def wrapped(cause: BaseException) -> DBAPIError:
    """The driver's error as SQLAlchemy raises it."""
    return DBAPIError("select 1", None, unwrapped(cause))


def unwrapped(cause: BaseException) -> AsyncAdapt_asyncpg_dbapi.Error:
    """The driver's error as SQLAlchemy's pool raises it."""
    error = AsyncAdapt_asyncpg_dbapi.Error(str(cause), cause)  # type: ignore[no-untyped-call]
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        ("08006", Remedy.RECONNECT),  # connection failure
        ("08P01", Remedy.RECONNECT),  # all that pgbouncer reports
        ("25006", Remedy.RECONNECT),  # read-only
        ("25P03", Remedy.RECONNECT),  # idle in transaction
        ("26000", Remedy.RECONNECT),  # no such prepared statement
        ("42P05", Remedy.RECONNECT),  # the prepared statement is there already
        ("40001", Remedy.REPEAT),  # serialization failure
        ("40P01", Remedy.REPEAT),  # deadlock
        ("53100", Remedy.REPEAT),  # disk full
        ("53300", Remedy.REPEAT),  # too many connections
        ("55000", Remedy.RECONNECT),  # accepts no connections
        ("55006", Remedy.REPEAT),  # in use
        ("55P03", Remedy.REPEAT),  # lock timeout
        ("57014", Remedy.REPEAT),  # statement timeout
        ("57P01", Remedy.RECONNECT),  # shutdown
        ("57P02", Remedy.RECONNECT),  # crash
        ("57P03", Remedy.RECONNECT),  # starting
        ("57P04", Remedy.RECONNECT),  # dropped
        ("57P05", Remedy.RECONNECT),  # idle session
        ("58030", Remedy.RECONNECT),  # disk
        ("XX000", Remedy.RECONNECT),  # cache lookup failed
        ("XX001", None),  # damaged data
        ("22012", None),  # division by zero
        ("23505", None),  # unique violation
        ("28P01", None),  # wrong password
        ("42501", None),  # no privilege
        ("42P01", None),  # no such table
        ("42703", None),  # no such column
    ],
)
def test_a_state_has_its_remedy_bare_and_within_an_error_of_sqlalchemy(
    state: str, remedy: Remedy | None
) -> None:
    error = DRIVER_ERRORS[state]("text")

    assert find_remedy(error) is remedy
    assert find_remedy(wrapped(error)) is remedy


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (asyncpg.InvalidCachedStatementError("cached plan"), Remedy.REPEAT),
        (asyncpg.FeatureNotSupportedError("of the same state"), None),
        (asyncpg.OutdatedSchemaCacheError("cached types"), Remedy.RECONNECT),
        (asyncpg.TargetServerAttributeNotMatched("no primary"), Remedy.RECONNECT),
        (asyncpg.ConnectionDoesNotExistError("closed"), Remedy.RECONNECT),
        (TimeoutError(), Remedy.RECONNECT),
        (ConnectionResetError(), Remedy.RECONNECT),
        (ValueError(), None),
    ],
)
def test_what_the_driver_finds_out_itself_has_its_remedy(
    error: Exception, remedy: Remedy | None
) -> None:
    assert find_remedy(error) is remedy
    assert find_remedy(wrapped(error)) is remedy


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (wrapped(DRIVER_ERRORS["25006"]("secret text")), r"ReadOnly\w+ \(25006\)$"),
        (wrapped(asyncpg.OutdatedSchemaCacheError("secret")), "OutdatedSchemaCacheError$"),
        (unwrapped(DRIVER_ERRORS["53300"]("secret text")), r"TooManyConnectionsError \(53300\)$"),
        (DRIVER_ERRORS["57P01"]("secret text"), r"AdminShutdownError \(57P01\)$"),
        (asyncpg.OutdatedSchemaCacheError("secret"), "OutdatedSchemaCacheError$"),
        (unwrapped(asyncpg.TargetServerAttributeNotMatched("secret")), "AttributeNotMatched$"),
        (PoolTimeout("secret"), "no connection to the database was free"),
        (TimeoutError("secret"), "the database cannot be reached: TimeoutError$"),
    ],
)
def test_a_transient_error_names_the_kind_and_not_the_text(error: Exception, text: str) -> None:
    with pytest.raises(Transient, match=text) as raised, translated_errors():
        raise error

    assert "secret" not in str(raised.value)


def test_other_errors_are_raised_as_they_are() -> None:
    defect = wrapped(DRIVER_ERRORS["42P01"]("no such table"))

    with pytest.raises(DBAPIError) as raised, translated_errors():
        raise defect

    assert raised.value is defect
    assert find_transient(defect) is None
    assert find_transient(unwrapped(DRIVER_ERRORS["28P01"]("wrong password"))) is None
    assert find_transient(ValueError()) is None
