"""Derives SQL text from the declared tables and enums, so that each fact is written once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql


def literals(values: Iterable[StrEnum]) -> str:
    """``('a', 'b')``: the values of an enum, for ``in`` and for the predicate of an index."""
    quoted = (f"'{value.value}'" for value in values)
    return f"({', '.join(quoted)})"


def stored_json(column: str) -> str:
    """The JSON in a column of text, to read single fields of it.

    A text from the venue may contain a NUL. PostgreSQL has none in any text, and reads no field of
    a JSON that contains one.
    """
    return rf"cast(regexp_replace({column}, '(?<!\\)((\\\\)*)\\u0000', '\1', 'g') as json)"


@dataclass(frozen=True, slots=True)
class Batch:
    """The columns of rows that one statement takes as arrays, one array for each column.

    PostgreSQL plans and executes such a statement once, however many rows it takes.
    """

    types: Mapping[str, str]
    """PostgreSQL's type by the name of the column."""

    @classmethod
    def from_table(cls, table: Table, *names: str, **others: str) -> Self:
        """The named columns of ``table`` with their declared types, then ``others``: columns that
        the table does not have, each with its type.
        """
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        declared = {name: table.columns[name].type.compile(dialect) for name in names}
        return cls({**declared, **others})

    @property
    def names(self) -> str:
        """``a, b``: for the list of an insert's columns."""
        return ", ".join(self.types)

    def prefixed(self, alias: str) -> str:
        """``g.a, g.b``: for what a select returns."""
        return ", ".join(f"{alias}.{name}" for name in self.types)

    def unnest(self, alias: str) -> str:
        """``unnest(cast(:a as text[]), cast(:b as bigint[])) as g(a, b)``."""
        arrays = ", ".join(f"cast(:{name} as {type_}[])" for name, type_ in self.types.items())
        return f"unnest({arrays}) as {alias}({self.names})"

    def parameters(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        """The arrays that the statement takes. Raises: KeyError where a row lacks a column."""
        return {name: [row[name] for row in rows] for name in self.types}
