"""Named parameters of SQL text, as ``:name``, and their positions, as PostgreSQL takes them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

MAX_STATEMENTS = 512
"""Of which the translation is kept: more than any process executes."""

NAME_OR_VERBATIM = re.compile(
    r"""
    (?P<verbatim>
        '(?:[^']|'')*'                                # 'text', with '' for an apostrophe
      | "(?:[^"]|"")*"                                # "a name"
      | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$   # $$text$$
      | --[^\n]*                                      # a comment
      | /\*.*?\*/
      | ::                                            # a cast
    )
  | (?<!\w):(?P<name>[^\W\d]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class PositionalStatement:
    """A statement whose parameters have numbers instead of names."""

    text: str
    """With ``$1`` for each place of the first name."""
    names: tuple[str, ...]

    def values(self, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values in the order of the numbers. Raises: KeyError where one is missing."""
        return tuple([parameters[name] for name in self.names])


@lru_cache(maxsize=MAX_STATEMENTS)
def number_parameters(statement: str) -> PositionalStatement:
    """Give each name a number, in the order of its first place. What is in quotes or in a comment
    is left as it is, and so are casts (``::``).
    """
    number_by_name: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        name = found["name"]
        if name is None:
            return found[0]
        return f"${number_by_name.setdefault(name, len(number_by_name) + 1)}"

    text = NAME_OR_VERBATIM.sub(number, statement)
    return PositionalStatement(text, tuple(number_by_name))
