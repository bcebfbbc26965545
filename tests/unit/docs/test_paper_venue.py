"""docs/paper-venue.md has every setting, fault and control endpoint; tests that it names exist."""

import re
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from services.paper_venue.faults.catalogue import Fault
from services.paper_venue.settings import Settings
from tests.unit.docs.tables import DOCS, table_after

PAGE = "paper-venue.md"
ROOT = DOCS.parent


def as_written(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "none"
    value = default.value if isinstance(default, Enum) else default
    text = (
        format(Decimal(str(value)).normalize(), "f")
        if isinstance(value, int | float | Decimal)
        else str(value)
    )
    return f"`{text}`"


def test_every_setting_is_documented_with_its_default() -> None:
    documented = {name: default for name, default, _ in table_after(PAGE, "## Settings")}

    assert documented == {
        f"`PAPER_VENUE_{name.upper()}`": as_written(field.default)
        for name, field in Settings.model_fields.items()
    }


def test_every_fault_is_documented_once() -> None:
    documented = [name.strip("`") for name, _, _ in table_after(PAGE, "## Faults")]

    assert documented == [fault.value for fault in Fault]


def test_every_control_endpoint_is_documented() -> None:
    documented = {
        path
        for cell, _ in table_after(PAGE, "## Control")
        for path in re.findall(r"/control/[a-z-]+(?:/[a-z-]+)*", cell)
    }
    served = {
        path
        for module in (ROOT / "services" / "paper_venue").rglob("*.py")
        for path in re.findall(r'web\.\w+\("(/control/[a-z/-]+)"', module.read_text())
    }

    assert documented == served


def test_every_named_test_exists() -> None:
    tests = [
        name
        for _, _, cell in table_after(PAGE, "## What is the same as at the live venue")
        for name in re.findall(r"`([^`]+)`", cell)
    ]
    files = {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}
    everything = "\n".join(path.read_text() for path in files.values())

    missing = [name for name in tests if not _exists(name, files, everything)]

    assert tests
    assert missing == []


def _exists(name: str, files: dict[str, Path], everything: str) -> bool:
    if "/" in name:
        return (ROOT / name).is_file()
    return name in files if name.endswith(".py") else f"def {name}(" in everything
