"""How commands show numbers, times, states and rows on a terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from shared.domain.money import as_decimal

UNSOLD_EXIT = "NEEDS AN OPERATOR: unsold"
"""An exit that ended with shares left: nothing attempts it again."""

Facts = list[tuple[str, str]]
"""Names and what is said of them, a line each."""


def format_number(number: Decimal) -> str:
    """The number without an exponent or trailing zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_amount(base_units: int) -> str:
    """Base units as a decimal number without trailing zeros."""
    return format_number(as_decimal(base_units))


def format_known(base_units: int | None) -> str:
    """An amount that may not be known."""
    return "unknown" if base_units is None else format_amount(base_units)


def format_milliseconds(microseconds: int) -> str:
    return str(Decimal(microseconds).scaleb(-3).quantize(Decimal("0.1")))


def format_time(moment: datetime | None) -> str:
    """The time in UTC with milliseconds; a dash where it is None."""
    if moment is None:
        return "-"
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_order_state(order: Any) -> str:
    """An order that was not resolved in time says so: no service will resolve it."""
    if order.alerted_at is None:
        return str(order.state)
    return f"{order.state}: NEEDS AN OPERATOR since {order.alerted_at:%H:%M:%S}"


def escape_control_characters(text: str) -> str:
    """The text as it may be printed on a terminal, whoever wrote it."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def build_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Group:
    """A column whose name begins with ``>`` holds numbers. Without rows, the title says so."""
    if not rows:
        return Group(Text(f"{title}: none"))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            column.lstrip(">"),
            justify="right" if column.startswith(">") else "left",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(_build_cell, row))
    return Group(Text(title, style="bold"), table)


def build_facts(title: str, facts: Sequence[tuple[str, str]]) -> Group:
    """Names with their values, one a line."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, _build_cell(value))
    return Group(Text(title, style="bold"), table)


def _build_cell(value: str) -> Text:
    """Not markup: titles of markets and texts of the venue may contain brackets."""
    return Text(escape_control_characters(value))
