"""docs/metrics.md: every metric with its labels and their values, grouped by subject."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise

from shared.observe.instruments import Declaration, Label, Subject
from shared.observe.metrics import declarations
from tools.docs.markdown import table

INTRODUCTION = """# Metrics

Written from the code by `make docs`; do not edit it. Every service serves these metrics in the
Prometheus format at `/metrics`, on the port `HEALTH_PORT`, together with its memory, CPU, open
files and garbage collection.

The value `other` stands for a label value that could be an address or an id, and for every value
beyond 2,000 of one metric. Amounts are in base units: 1,000,000 micro-USDC are one USDC.
"""


def render_metrics() -> str:
    """The page as Markdown."""
    sections = [_section(subject) for subject in Subject]
    return "\n".join([INTRODUCTION, *sections, _label_values()])


def _section(subject: Subject) -> str:
    rows = [_row(each) for each in declarations() if each.subject is subject]
    head = ("metric", "kind", "unit", "labels", "meaning")
    return f"## {subject}\n\n{table(head, rows)}\n"


def _label_values() -> str:
    """What the values of labels mean, where the code says so."""
    metrics_by_label: dict[Label, list[str]] = {}
    for declaration in declarations():
        for label in declaration.labels:
            metrics_by_label.setdefault(label, []).append(f"`{declaration.name}`")
    rows = [
        (f"`{label.name}` of {', '.join(names)}", f"`{value}`", meaning)
        for label, names in metrics_by_label.items()
        for value, meaning in _meanings(label)
    ]
    return f"## Label values\n\n{table(('label', 'value', 'meaning'), rows)}\n"


def _meanings(label: Label) -> Iterator[tuple[str, str]]:
    """The values that have an attribute docstring, each with it on one line."""
    if isinstance(label.values, str):
        return
    value_by_name = {value.name: value for value in label.values}
    for kind in {type(value): None for value in label.values}:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(definition, ast.ClassDef)
        for statement, following in pairwise(definition.body):
            match statement, following:
                case (
                    ast.Assign(targets=[ast.Name(id=name)]),
                    ast.Expr(value=ast.Constant(value=str(meaning))),
                ) if name in value_by_name:
                    yield value_by_name[name].value, " ".join(meaning.split())


def _row(declaration: Declaration) -> tuple[str, ...]:
    return (
        f"`{declaration.name}`",
        declaration.kind,
        declaration.unit or "count",
        "; ".join(map(_describe, declaration.labels)),
        declaration.meaning,
    )


def _describe(label: Label) -> str:
    if isinstance(label.values, str):
        return f"`{label.name}`: {label.values}"
    return f"`{label.name}`: " + ", ".join(f"`{value}`" for value in label.values)
