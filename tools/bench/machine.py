"""Describe the machine, and read the CPU use and memory of processes from /proc."""

import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
PACKAGES = (
    "aiokafka",
    "faust-streaming",
    "pydantic",
    "uvloop",
    "sqlalchemy",
    "asyncpg",
    "polymarket-client",
    "aiohttp",
    "websockets",
)


def describe_machine() -> dict[str, object]:
    return {
        "cpu": _read_cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def measure_speed() -> float:
    """Milliseconds of CPU that a million additions in Python take: the best of five. They show a
    slow processor; not slow memory, nor slow switches between processes.
    """
    return min(_time_additions() for _ in range(5))


def _time_additions() -> float:
    started, total = time.process_time(), 0
    for number in range(1_000_000):
        total += number
    return round((time.process_time() - started) * 1000, 1)


def describe_commit(checkout: Path) -> dict[str, object]:
    """The commit of a checkout, and whether its files differ from it."""
    return {
        "commit": _run_git(checkout, "rev-parse", "--short=12", "HEAD"),
        "modified": bool(_run_git(checkout, "status", "--porcelain", "--untracked-files=no")),
    }


def load_average() -> tuple[float, float, float]:
    return os.getloadavg()


def read_cpu_seconds(roots: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds of each process and its descendants (a database has a process per connection)."""
    stats = {int(entry.name): _read_stat(entry) for entry in PROC.iterdir() if entry.name.isdigit()}
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in stats.items():
        children.setdefault(parent, []).append(pid)
    return {
        name: sum(stats[pid][1] for pid in _descendants(pid, children) if pid in stats)
        for name, pid in roots.items()
    }


def read_memory_mb(roots: Mapping[str, int]) -> dict[str, float]:
    """Resident memory of each process and its descendants, in MB. What several of them share counts
    once.
    """
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            children.setdefault(_read_stat(entry)[0], []).append(int(entry.name))
    return {
        name: sum(_read_share_kb(each) for each in _descendants(pid, children)) / 1024
        for name, pid in roots.items()
    }


def _read_share_kb(pid: int) -> int:
    """The proportional set size: shared pages are divided by how many processes use them. 0: it has
    ended.
    """
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _descendants(pid: int, children: Mapping[int, list[int]]) -> Iterable[int]:
    yield pid
    for child in children.get(pid, ()):
        yield from _descendants(child, children)


def _read_stat(entry: Path) -> tuple[int, float]:
    """The parent's pid, and the CPU seconds of the process and of its ended children."""
    try:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return 0, 0.0
    return int(fields[1]), sum(map(int, fields[11:15])) / TICKS


def _run_git(checkout: Path, *arguments: str) -> str:
    """Its output; empty where this is no checkout."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=checkout, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _read_cpu_model() -> str:
    lines = (PROC / "cpuinfo").read_text().splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
