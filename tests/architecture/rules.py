"""The house rules that no linter has: each takes a source text and returns the violations."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50

SERVICE_FILES = {
    "__init__.py",
    "decisions.py",
    "handler.py",
    "adapters.py",
    "settings.py",
    "app.py",
    "__main__.py",
}
CARD = ("consumes", "produces", "owns", "guarantees", "fails")

_INDEX_OPTION = re.compile(
    r"--(?:index-url|extra-index-url|find-links|trusted-host)\b|^(?!\s*\"url\":).*\bhttps?://|\bfile:"
)
_REGISTRY_WORD = "pypi|pythonhosted|npmjs|npm|maven|nexus|artifactory|jfrog|devpi|verdaccio"
_REGISTRY = re.compile(
    rf"(?i)https?://[\w.:@-]*(?:{_REGISTRY_WORD})|\b(?:pypi|npmjs|pythonhosted|maven)\.(?:org|com|apache)\b"
)
_MACHINE_PATH = re.compile(r"(?<![\w.$}~*-])/(?:work|root|home/\w+|Users/\w+|tmp/[\w.]+)(?:/|\b)")

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def service_shape(paths: Iterable[Path]) -> list[str]:
    """A service has exactly these files; a package of the same name may replace one."""
    files = {path.parts[0] if len(path.parts) == 1 else f"{path.parts[0]}.py" for path in paths}
    missing = [f"{name} is missing" for name in sorted(SERVICE_FILES - files)]
    return missing + [f"{name} has no place in a service" for name in sorted(files - SERVICE_FILES)]


def service_card(source: str) -> list[str]:
    """The docstring of a service begins a line with each word of the card."""
    lines = (ast.get_docstring(ast.parse(source)) or "").splitlines()
    first_words = {line.split()[0] for line in lines if line.split()}
    return [
        f"the card does not say what the service {word}" for word in CARD if word not in first_words
    ]


def floats(source: str) -> list[str]:
    """The name ``float`` and numbers with a binary fraction."""
    return [
        f"line {node.lineno}: float"
        for node in ast.walk(ast.parse(source))
        if _is_float(node) and isinstance(node, ast.expr)
    ]


def _is_float(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, float)
    return isinstance(node, ast.Name) and node.id == "float"


def sizes(source: str) -> list[str]:
    """Files and functions that are too long."""
    lines = len(source.splitlines())
    too_long = [f"{lines} lines, at most {MAX_FILE_LINES}"] if lines > MAX_FILE_LINES else []
    return too_long + [
        f"line {function.lineno}: {function.name} has {_length(function)} lines, "
        f"at most {MAX_FUNCTION_LINES}"
        for function in ast.walk(ast.parse(source))
        if isinstance(function, _Function) and _length(function) > MAX_FUNCTION_LINES
    ]


def _length(function: _Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def sleeps(source: str) -> list[str]:
    """Sleeping for a fixed time instead of waiting for a condition. ``sleep(0)`` only yields."""
    tree = ast.parse(source)
    yields = {
        node.func
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and [ast.unparse(given) for given in node.args] == ["0"]
    }
    return [
        f"line {node.lineno}: sleep"
        for node in _uses(tree, {"time", "asyncio", "anyio"}, {"sleep"})
        if node not in yields
    ]


def environment_reads(source: str) -> list[str]:
    """Reading the environment."""
    reads = _uses(ast.parse(source), {"os"}, {"environ", "environb", "getenv"})
    return [f"line {node.lineno}: the environment is read" for node in reads]


def _uses(
    tree: ast.Module, modules: set[str], names: set[str]
) -> Iterator[ast.Attribute | ast.ImportFrom]:
    """Yield where a name of a module is used or imported, also under an alias of the module."""
    imported = [
        alias for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    ]
    known_as = modules | {
        alias.asname for alias in imported if alias.asname and alias.name in modules
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr in names
            and isinstance(node.value, ast.Name)
            and node.value.id in known_as
        ):
            yield node
        if (
            isinstance(node, ast.ImportFrom)
            and node.module in modules
            and names & {alias.name for alias in node.names}
        ):
            yield node


def machine_traces(text: str) -> list[str]:
    """Paths of one machine and hosts of package registries, which differ on other machines."""
    return [
        f"line {number}: {match.group()}"
        for number, line in enumerate(text.splitlines(), 1)
        for match in [*_MACHINE_PATH.finditer(line), *_REGISTRY.finditer(line)]
    ]


def lock_addresses(text: str) -> list[str]:
    """A lock file has versions and hashes, and no addresses to fetch from, except for funding."""
    return [
        f"line {number}: {line.strip()[:80]}"
        for number, line in enumerate(text.splitlines(), 1)
        if _INDEX_OPTION.search(line)
    ]


def unnamed(paths: Iterable[Path]) -> list[str]:
    """Files whose name does not describe their contents."""
    return [
        str(path)
        for path in paths
        if path.stem in {"utils", "util", "helpers", "helper", "common", "misc"}
    ]


def undescribed(source: str) -> list[str]:
    """Modules without a docstring."""
    tree = ast.parse(source)
    return [] if not tree.body or ast.get_docstring(tree) else ["no docstring"]
