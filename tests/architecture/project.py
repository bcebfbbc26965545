"""The files of this project, and those that particular rules apply to."""

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

BESIDE_THE_PIPELINE = {"paper_venue", "console"}


@cache
def files() -> tuple[Path, ...]:
    """Return tracked files and new ones that are not ignored, relative to the root."""
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    result = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    named = (Path(name) for name in result.stdout.split("\0") if name)
    return tuple(sorted(path for path in named if (ROOT / path).is_file()))


def python(*folders: str) -> list[Path]:
    """Return the Python files below these folders."""
    return [path for path in files() if path.suffix == ".py" and path.parts[0] in folders]


def read(path: Path) -> str:
    """Return a file's text, without the bytes that are not text."""
    return (ROOT / path).read_bytes().decode(errors="ignore")


def pipeline_services() -> dict[str, tuple[Path, ...]]:
    """Return the files of each pipeline service, relative to the service's folder.

    A folder is a service where it has a composition root.
    """
    inside = [path for path in files() if path.parts[0] == "services" and len(path.parts) > 2]
    names = {
        path.parts[1] for path in inside if path.parts[2:] in {("app.py",), ("app", "__init__.py")}
    } - BESIDE_THE_PIPELINE
    return {
        name: tuple(Path(*path.parts[2:]) for path in inside if path.parts[1] == name)
        for name in sorted(names)
    }


def money_code() -> list[Path]:
    """Return the files that decide about amounts and prices: they may not use binary fractions."""
    core = [path for path in python("shared") if path.parts[1] in ("domain", "messages")]
    decisions = [
        path for path in python("services") if "decisions" in (path.stem, path.parent.name)
    ]
    venue = [
        path
        for path in python("services")
        if path.parts[1] == "paper_venue" and path.stem in {"engine", "book", "matching"}
    ]
    return core + decisions + venue
