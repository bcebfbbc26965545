"""Named parameters of a statement get their numbers, and nothing else in it changes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from shared.db.parameters import number_parameters

VERBATIM = (
    "select '12:30:15', ':name', 'it''s :name'",
    'select ":name", "a"":name"',
    "select a::text, b::bigint[], now()::timestamptz",
    "select $$ :name $$, $tag$ :name $$ :name $tag$",
    "select 1 -- :name and it's a comment",
    "select /* :name, \n it's :name */ 1",
    "select a -> 'b' ->> 'c', a #>> '{b}', a @> '{}', a ? 'b', x[1:2], x[lower:upper]",
    r"select regexp_replace(x, '(?<!\\)((\\\\)*)\\u0000', '\1', 'g')",
)


@pytest.mark.parametrize(
    ("statement", "numbered", "names"),
    [
        ("select :a", "select $1", ("a",)),
        ("select :b, :a, :b", "select $1, $2, $1", ("b", "a")),
        ("select cast(:ids as text[])", "select cast($1 as text[])", ("ids",)),
        ("select :a::bigint", "select $1::bigint", ("a",)),
        ("select(:a)||:b_2", "select($1)||$2", ("a", "b_2")),
        ("select '\\', :a", "select '\\', $1", ("a",)),
        ("select 'it''s', :a -- :b\n, :c", "select 'it''s', $1 -- :b\n, $2", ("a", "c")),
        ("select x - interval '1 minute' * :n", "select x - interval '1 minute' * $1", ("n",)),
    ],
)
def test_each_name_has_one_number(statement: str, numbered: str, names: tuple[str, ...]) -> None:
    found = number_parameters(statement)

    assert (found.text, found.names) == (numbered, names)


@pytest.mark.parametrize("statement", VERBATIM)
def test_quotes_comments_casts_and_operators_are_left_as_they_are(statement: str) -> None:
    found = number_parameters(statement)

    assert (found.text, found.names) == (statement, ())


NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)
PARTS = st.one_of(
    st.sampled_from(VERBATIM).map(lambda part: f"{part}\n"),
    NAMES.map(lambda name: f" :{name} "),
    NAMES.map(lambda name: f" cast(:{name} as text[])::text "),
    NAMES,
)


@given(st.lists(PARTS, max_size=8))
def test_the_names_come_back_from_their_numbers(parts: list[str]) -> None:
    statement = " ".join(parts)
    found = number_parameters(statement)

    restored = re.sub(
        r"\$(\d+)(?!\d)", lambda number: f":{found.names[int(number[1]) - 1]}", found.text
    )

    assert restored == statement
    assert len(set(found.names)) == len(found.names)
    assert found.values({name: name for name in found.names}) == found.names


@given(st.lists(NAMES.map(lambda name: f"cast(:{name} as text[])::text"), min_size=1, max_size=8))
def test_the_numbers_are_those_that_sqlalchemy_gives(parts: list[str]) -> None:
    statement = f"select {', '.join(parts)}"
    compiled = text(statement).compile(dialect=dialect())  # type: ignore[no-untyped-call]

    assert number_parameters(statement).text == compiled.string


def test_a_value_that_is_missing_is_named() -> None:
    with pytest.raises(KeyError, match="b"):
        number_parameters("select :a, :b").values({"a": 1})
