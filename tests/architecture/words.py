"""Words that names must not use, each with the word to use instead (docs/glossary.md)."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

RETIRED = {
    "booked": "recorded",
    "circle": "follow group",
    "circles": "follow groups",
    "credits": "provisional shares",
    "desk": "what the thing is",
    "doubted": "unverified",
    "gathered": "trade context",
    "heard": "received",
    "lane": "key queue",
    "lanes": "key queues",
    "looks": "lookups",
    "parking": "dead-letter store",
    "proofs": "confirming rows",
    "proven": "confirmed",
    "pulse": "health",
    "speaker": "what the thing is",
    "stretch": "share range",
    "tenure": "partition assignment",
    "tenures": "partition assignments",
    "told": "reply, reported or published",
    "weather": "venue fault",
    "weigh": "reconcile",
    "witness": "source",
    "witnesses": "sources",
}
RETIRED_IN_CONSTANTS = {"FEWEST": "MIN", "LARGEST": "MAX", "LONGEST": "MAX", "MOST": "MAX"}
RETIRED_IN_VENUE = {
    "house": "simulated traders",
    "mood": "market character",
    "styles": "leader strategies",
}
RETIRED_UNLESS_AFTER = {"letter": "dead", "letters": "dead"}
"""A letter is a dead letter."""

RETIRED_IN_PROSE = (
    "our books",
    "calls a human",
    "told again",
    "a no of the venue",
    "goes around again",
    "tenure",
    "witness",
    "pulse",
)

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@dataclass(frozen=True, slots=True)
class Name:
    """Something that the code defines, and where."""

    text: str
    line: int


def names(source: str) -> Iterator[Name]:
    """What a module defines: functions, classes, parameters, variables and fields."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield Name(node.name, node.lineno)
            case ast.arg():
                yield Name(node.arg, node.lineno)
            case ast.Name(ctx=ast.Store()):
                yield Name(node.id, node.lineno)
            case ast.Attribute(ctx=ast.Store()):
                yield Name(node.attr, node.lineno)


def retired_names(source: str) -> list[str]:
    """Names with a word that is retired everywhere."""
    return [
        f"line {name.line}: {name.text}: {advice}"
        for name in names(source)
        if (advice := advice_for(name.text))
    ]


def retired_names_of_the_venue(source: str) -> list[str]:
    """Names with a word that is retired in the paper venue."""
    return [
        f"line {name.line}: {name.text}: say {RETIRED_IN_VENUE[word]}"
        for name in names(source)
        for word in words(name.text)
        if word in RETIRED_IN_VENUE
    ]


def functions_named_of(source: str) -> list[str]:
    """``x_of(y)`` does not say what the function does. (``as_of`` is a term of its own.)"""
    return [
        f"line {node.lineno}: {node.name}: begin with a verb"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and words(node.name)[-1:] == ["of"]
        and node.name != "as_of"
    ]


def foreign_loggers(source: str) -> list[str]:
    """Every module calls its logger ``logger``."""
    return [
        f"line {node.lineno}: a logger is called logger"
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) == "logging.getLogger"
        and ast.unparse(node.targets[0]) != "logger"
    ]


def retired_prose(text: str) -> list[str]:
    """Phrases in documents and docstrings that a reader from outside would not understand."""
    return [
        f"line {number}: {phrase!r}"
        for number, line in enumerate(text.splitlines(), 1)
        for phrase in RETIRED_IN_PROSE
        if re.search(rf"\b{re.escape(phrase)}", line, re.IGNORECASE)
    ]


def questions(source: str) -> list[str]:
    """A module's docstring begins with a statement of what the module does."""
    first = (ast.get_docstring(ast.parse(source)) or "").split("\n")[0]
    return [f"a question: {first}"] if first.endswith("?") else []


def retired_files(paths: Iterable[Path]) -> list[str]:
    """Files named by a retired word."""
    return [f"{path}: {advice}" for path in paths if (advice := advice_for(path.stem))]


def advice_for(name: str) -> str:
    """What to say instead; empty where the name is fine."""
    for part in name.split("_"):
        if part in RETIRED_IN_CONSTANTS:
            return f"say {RETIRED_IN_CONSTANTS[part]}"
    parts = words(name)
    for before, word in zip(["", *parts], parts, strict=False):
        if word in RETIRED:
            return f"say {RETIRED[word]}"
        if word in RETIRED_UNLESS_AFTER and before != RETIRED_UNLESS_AFTER[word]:
            return f"say {RETIRED_UNLESS_AFTER[word]} {word}"
    return ""


def words(name: str) -> list[str]:
    """``MAX_OpenOrders`` is max, open, orders."""
    return [word.lower() for word in _WORD.findall(name)]
