"""SQL text that is derived from tables and enums has their columns, types and values."""

import pytest

from shared.db import tables
from shared.db.sql import Batch, literals
from shared.domain.money import Side


def test_an_enum_becomes_a_list_of_literals() -> None:
    assert literals(Side) == "('BUY', 'SELL')"


def test_a_batch_takes_one_array_for_each_column() -> None:
    batch = Batch.from_table(tables.spending, "scope", "day", "spent_usdc", rank="integer")

    assert batch.names == "scope, day, spent_usdc, rank"
    assert batch.prefixed("g") == "g.scope, g.day, g.spent_usdc, g.rank"
    assert batch.unnest("g") == (
        "unnest(cast(:scope as TEXT[]), cast(:day as DATE[]), cast(:spent_usdc as BIGINT[]), "
        "cast(:rank as integer[])) as g(scope, day, spent_usdc, rank)"
    )


def test_times_keep_their_zone() -> None:
    batch = Batch.from_table(tables.orders, "signed_at")

    assert batch.types == {"signed_at": "TIMESTAMP WITH TIME ZONE"}


def test_rows_become_arrays_in_their_order() -> None:
    batch = Batch.from_table(tables.spending, "scope", "spent_usdc")

    rows = [{"scope": "a", "spent_usdc": 1, "more": 0}, {"scope": "b", "spent_usdc": 2}]

    assert batch.parameters(rows) == {"scope": ["a", "b"], "spent_usdc": [1, 2]}


def test_a_row_without_a_column_is_an_error() -> None:
    with pytest.raises(KeyError, match="spent_usdc"):
        Batch.from_table(tables.spending, "spent_usdc").parameters([{"scope": "a"}])
