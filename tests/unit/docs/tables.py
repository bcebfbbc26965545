"""Reads the rows of a table in a Markdown page."""

from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"


def table_after(page: str, heading: str) -> list[list[str]]:
    """The rows (without head and rule) of the first table under a heading of ``docs/<page>``; cells
    without the spaces around them.
    """
    lines = (DOCS / page).read_text().splitlines()
    below = lines[lines.index(heading) + 1 :]
    start = next(number for number, line in enumerate(below) if line.startswith("|"))
    end = next(
        (number for number, line in enumerate(below[start:], start) if not line.startswith("|")),
        len(below),
    )
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in below[start + 2 : end]
    ]
