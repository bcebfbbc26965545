"""SQL text that is derived from tables and enums has their columns, types and values."""

import pytest

from shared.db import tables
from shared.db.sql import Batch, literals
from shared.domain.money import Side


def test_an_enum_becomes_a_list_of_literals() -> None:
    assert literals(Side) == "('BUY', 'SELL')"


def test_a_batch_takes_one_array_for_each_column() -> None:
    batch = Batch.from_table(tables.positions, "token_id", "shares", rank="integer")

    assert batch.names == "token_id, shares, rank"
    assert batch.prefixed("g") == "g.token_id, g.shares, g.rank"
    assert batch.unnest("g") == (
        "unnest(cast(:token_id as TEXT[]), cast(:shares as BIGINT[]), cast(:rank as integer[])) "
        "as g(token_id, shares, rank)"
    )


def test_times_keep_their_zone() -> None:
    batch = Batch.from_table(tables.orders, "signed_at")

    assert batch.types == {"signed_at": "TIMESTAMP WITH TIME ZONE"}


def test_rows_become_arrays_in_their_order() -> None:
    batch = Batch.from_table(tables.positions, "token_id", "shares")

    rows = [{"token_id": "a", "shares": 1, "more": 0}, {"token_id": "b", "shares": 2}]

    assert batch.parameters(rows) == {"token_id": ["a", "b"], "shares": [1, 2]}


def test_a_row_without_a_column_is_an_error() -> None:
    with pytest.raises(KeyError, match="shares"):
        Batch.from_table(tables.positions, "shares").parameters([{"token_id": "a"}])
