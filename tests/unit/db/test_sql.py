"""SQL text that is derived from tables and enums has their columns, types and values."""

import pytest

from shared.db import tables
from shared.db.sql import Batch, literals
from shared.domain.money import Side


def test_an_enum_becomes_a_list_of_literals() -> None:
    assert literals(Side) == "('BUY', 'SELL')"


def test_a_batch_takes_one_array_for_each_column() -> None:
    batch = Batch.from_table(tables.spending, "proxy", "day", "spent_usdc", rank="integer")

    assert batch.names == "proxy, day, spent_usdc, rank"
    assert batch.prefixed("g") == "g.proxy, g.day, g.spent_usdc, g.rank"
    assert batch.unnest("g") == (
        "unnest(cast(:proxy as TEXT[]), cast(:day as DATE[]), cast(:spent_usdc as BIGINT[]), "
        "cast(:rank as integer[])) as g(proxy, day, spent_usdc, rank)"
    )


def test_times_keep_their_zone() -> None:
    batch = Batch.from_table(tables.orders, "signed_at")

    assert batch.types == {"signed_at": "TIMESTAMP WITH TIME ZONE"}


def test_rows_become_arrays_in_their_order() -> None:
    batch = Batch.from_table(tables.spending, "proxy", "spent_usdc")

    rows = [{"proxy": "a", "spent_usdc": 1, "more": 0}, {"proxy": "b", "spent_usdc": 2}]

    assert batch.parameters(rows) == {"proxy": ["a", "b"], "spent_usdc": [1, 2]}


def test_a_row_without_a_column_is_an_error() -> None:
    with pytest.raises(KeyError, match="spent_usdc"):
        Batch.from_table(tables.spending, "spent_usdc").parameters([{"proxy": "a"}])
