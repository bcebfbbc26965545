"""Real frames of the venue, where they lie beside the project."""

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "data"


def recorded(name: str) -> Any:
    """The file, parsed as JSON; the test that asks is skipped where it is not there."""
    file = FOLDER / name
    if not file.exists():
        pytest.skip(
            f"the recorded frames are not here: {file.relative_to(FOLDER.parents[1])} belongs beside the project"
        )
    return json.loads(file.read_text())
