"""Every relative link of the documents points to a file and a heading that exist, and their prose
is at most 100 wide.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.unit.docs.tables import DOCS

ROOT = DOCS.parent
WIDTH = 100
PAGES = sorted(
    page
    for pattern in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/**/*.md",
        "examples/*.md",
    )
    for page in ROOT.glob(pattern)
)

_FENCE = re.compile(r"^ *(```|~~~)")
_CODE = re.compile(r"`[^`]*`")
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)(?: \"[^\"]*\")?\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$")
_LINK_ALONE = re.compile(r" *([-*] |\d+\. )?\(?!?\[[^\[\]]*\]\([^()\s]+\)\S{0,2}")


def lines_outside_code(page: Path) -> Iterator[tuple[int, str]]:
    """The page's lines with their numbers, without those of fenced code blocks."""
    is_code = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if _FENCE.match(line):
            is_code = not is_code
        elif not is_code:
            yield number, line


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading: links and code as text, lower case, punctuation left
    out, spaces as hyphens.
    """
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")


@cache
def anchors(page: Path) -> frozenset[str]:
    """All anchors of a page; a heading that is repeated gets ``-1``, ``-2`` and so on."""
    known: dict[str, int] = {}
    for _, line in lines_outside_code(page):
        if (heading := _HEADING.match(line)) is not None:
            name = slug(heading[1])
            count = known.get(name, 0)
            known[name] = count + 1
            known[f"{name}-{count}" if count else name] = 1
    return frozenset(known)


def links(page: Path) -> Iterator[tuple[int, str]]:
    """The relative links of a page with their line numbers; text in code spans holds none."""
    for number, line in lines_outside_code(page):
        for target in _LINK.findall(_CODE.sub("", line)):
            if not re.match(r"[a-z]+:", target):
                yield number, target


def broken_links(page: Path) -> list[str]:
    """Links to files that do not exist, or to headings that their page does not have."""
    broken = []
    for number, target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            broken.append(f"{page.name}:{number}: {target}: no such file")
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            broken.append(f"{page.name}:{number}: {target}: no such heading")
    return broken


def is_prose(line: str) -> bool:
    """Not a row of a table, and not a link that has its line for itself."""
    return not line.lstrip().startswith("|") and _LINK_ALONE.fullmatch(line) is None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_points_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_at_most_100_wide(page: Path) -> None:
    wide = [
        f"{page.name}:{number}: {len(line)} wide"
        for number, line in lines_outside_code(page)
        if len(line) > WIDTH and is_prose(line)
    ]

    assert wide == []


def test_a_broken_link_and_a_missing_heading_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`, three\n[a](#one-two-three) [b](#four) [c](missing.md) [d](page.md#one)\n"
        "```\n[e](missing.md)\n```\n`[f](missing.md)` [g](https://example.org/x)\n"
    )

    assert broken_links(page) == [
        "page.md:2: #four: no such heading",
        "page.md:2: missing.md: no such file",
        "page.md:2: page.md#one: no such heading",
    ]


def test_headings_of_the_same_text_have_numbered_anchors(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Same\n## Same\n## Same\n")

    assert anchors(page) == {"same", "same-1", "same-2"}
