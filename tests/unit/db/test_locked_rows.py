"""No statement locks rows of a partitioned table that it looks up one by one.

Where such a statement has to wait for another lock first, PostgreSQL 18.6 reads memory that it has
freed, and its server ends with all connections (docs/adr/0013).
"""

import re
from pathlib import Path

import pytest

from shared.db import tables

PARTITIONED = {
    table.fullname
    for table in tables.metadata.tables.values()
    if table.dialect_options["postgresql"]["partition_by"]
}
LOCK = re.compile(r"\bfor (?:no key )?(?:update|share)\b")
READ = re.compile(r"\bfrom\s+(\w+\.\w+)\s+(?:\w+\s+)?where\s+([^\n]*)")
NAMED_BY_PARAMETER = re.compile(r"\w+ = any\(cast\(:\w+")
"""The partitions of such a condition are known before anything is locked."""
UPDATE_BY_JOIN = re.compile(r"\bupdate\s+(\w+\.\w+)(?:\s+\w+)?\s+set\b(?:(?!\bwhere\b).)*?\bfrom\b")

SOURCES = [
    path
    for folder in ("services", "shared", "cli")
    for path in Path(__file__).parents[3].joinpath(folder).rglob("*.py")
    if "migrations" not in path.parts
]


def find_locks(source: str) -> list[str]:
    """The partitioned tables of which rows are locked as they are looked up."""
    locked = []
    for lock in LOCK.finditer(source):
        reads = list(READ.finditer(source, max(0, lock.start() - 400), lock.start()))
        if reads and not NAMED_BY_PARAMETER.match(reads[-1][2]):
            locked.append(reads[-1][1])
    locked += UPDATE_BY_JOIN.findall(" ".join(source.split()))
    return [table for table in locked if table in PARTITIONED]


def test_no_row_of_a_partitioned_table_is_locked_by_a_lookup() -> None:
    assert len(SOURCES) > 100
    found = {path.name: find_locks(path.read_text("utf-8")) for path in SOURCES}
    assert {name: tables for name, tables in found.items() if tables} == {}


@pytest.mark.parametrize(
    "statement",
    [
        "cross join lateral (\n select state from executor.order_states where intent_id = g.id\n"
        " offset 0 for no key update\n)",
        "select 1 from executor.trades t where t.intent_id in (select id from named) for update",
        "update executor.trades t set usdc = 1 from known where known.id = t.intent_id",
        "update preflight.intents i\n set state = s.state\n from settled s where s.id = i.id",
    ],
)
def test_such_a_statement_is_found(statement: str) -> None:
    assert len(find_locks(statement)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "select 1 from preflight.reservations where intent_id = g.intent_id offset 0 for update",
        "select 1 from executor.trades where intent_id = any(cast(:ids as text[])) for update",
        "update executor.trades set usdc = 1 where intent_id = :id; select 1 from named",
    ],
)
def test_others_are_not(statement: str) -> None:
    assert find_locks(statement) == []
