"""Loads the recorded frames and replies of the venue (tests/payloads/venue)."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "payloads" / "venue"


def load_recorded(name: str) -> Any:
    """The file, parsed as JSON."""
    return json.loads((FOLDER / name).read_text())
