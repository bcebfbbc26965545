"""A statement that may wait for the lock of a row reads partitioned tables by given keys alone.

Where the partitions to read are found row by row, and another part of the statement looks a row
up again because it has changed meanwhile, PostgreSQL 18.6 reads memory that it has freed, and its
server ends with all connections (docs/adr/0013).
"""

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest
from sqlalchemy import TextClause

import cli
import services
import shared
from shared.db import tables

PARTITIONED = {
    table.fullname
    for table in tables.metadata.tables.values()
    if table.dialect_options["postgresql"]["partition_by"]
}
MAY_WAIT = re.compile(
    r"\bfor (?:no key )?(?:update|share)\b|\bdelete from \w+\.\w+|\bupdate \w+\.\w+ "
)
"""A row that an insert finds in conflict is not looked up again."""
READ = re.compile(r"\b(?:from|join|update) (\w+\.\w+)(?=(.{0,80}))")
BY_GIVEN_KEYS = re.compile(r"^(?: as)?(?: \w+)? where (?:\w+\.)?\w+ = any\(cast\(:\w+")


def find_reads(statement: str) -> list[str]:
    """The partitioned tables that it reads otherwise, where it may wait for a row."""
    flat = " ".join(statement.split())
    if not MAY_WAIT.search(flat):
        return []
    return [
        table
        for table, what_follows in READ.findall(flat)
        if table in PARTITIONED and not BY_GIVEN_KEYS.match(what_follows)
    ]


def list_statements() -> Iterator[tuple[str, str]]:
    """The constants of all modules, by name; not what a function builds from a table's name."""
    for package in (services, shared, cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "migrations" in module.name or module.name.endswith("__main__"):
                continue
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, TextClause):
                    yield f"{module.name}.{name}", value.text
                elif isinstance(value, str) and "select" in value:
                    yield f"{module.name}.{name}", value


def test_no_statement_that_may_wait_finds_partitions_row_by_row() -> None:
    statements = dict(list_statements())
    found = {name: find_reads(statement) for name, statement in statements.items()}

    assert len(statements) > 100
    assert {name: tables for name, tables in found.items() if tables} == {}


@pytest.mark.parametrize(
    "statement",
    [
        "with f as (select p from control.leases for share) select * from f cross join lateral"
        " (\n select state from executor.order_states where intent_id = f.id\n offset 0)",
        "select 1 from executor.trades t where t.intent_id in (select id from named) for update",
        "update executor.trades t set usdc = 1 from known where known.id = t.intent_id",
        "delete from executor.open_orders o using executor.order_states s where s.state = 'x'"
        " and o.intent_id in (select intent_id from executor.orders where proxy = o.proxy)",
    ],
)
def test_such_a_statement_is_found(statement: str) -> None:
    assert find_reads(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "select 1 from preflight.reservations where intent_id = g.intent_id offset 0 for update",
        "select 1 from executor.trades where intent_id = any(cast(:ids as text[])) for update",
        "select 1 from named cross join lateral (select * from executor.trades t where t.x = y)",
    ],
)
def test_others_are_not(statement: str) -> None:
    assert find_reads(statement) == []
