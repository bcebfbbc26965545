"""Which files does this project consist of?"""

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

BESIDE_THE_PIPELINE = {"paper_venue", "console"}


@cache
def files() -> tuple[Path, ...]:
    """Tracked files and new ones that are not ignored, relative to the root: what the next commit
    can hold.
    """
    ask = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    answer = subprocess.run(ask, cwd=ROOT, check=True, capture_output=True, text=True)
    named = (Path(name) for name in answer.stdout.split("\0") if name)
    return tuple(sorted(path for path in named if (ROOT / path).is_file()))


def python(*folders: str) -> list[Path]:
    """The Python files below these folders."""
    return [path for path in files() if path.suffix == ".py" and path.parts[0] in folders]


def read(path: Path) -> str:
    """Its text; what is not text is read as far as it is."""
    return (ROOT / path).read_bytes().decode(errors="ignore")


def pipeline_services() -> dict[str, tuple[Path, ...]]:
    """The files of each service of the pipeline, relative to the service's folder.

    A folder is a service from the moment that its composition root is there.
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
    """Where amounts and prices are decided on: no binary fraction may come near."""
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
