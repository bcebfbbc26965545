"""Arms a crash in a service process, through files in one folder."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FOLDER_VARIABLE = "CRASH_MATRIX_FOLDER"
"""Environment variable that names the folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    boundary: str
    keys: frozenset[str]
    """Leader, proxy or partition, in lower case: only their calls count."""
    signal: signal.Signals
    """SIGKILL or SIGSTOP."""


class CrashSwitch:
    """At most one crash is armed, and it ends or stops one process, once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._armed = folder / "armed.json"

    def arm(self, crash: Crash) -> None:
        self.disarm()
        written = self._folder / "arming.json"
        written.write_text(
            json.dumps(
                {
                    "boundary": crash.boundary,
                    "keys": sorted(crash.keys),
                    "signal": crash.signal.value,
                }
            )
        )
        written.rename(self._armed)

    def disarm(self) -> None:
        for file in (self._armed, *self._crash_files()):
            file.unlink(missing_ok=True)

    def armed_crash(self) -> Crash | None:
        try:
            fields = json.loads(self._armed.read_text())
        except FileNotFoundError:
            return None
        return Crash(
            boundary=fields["boundary"],
            keys=frozenset(fields["keys"]),
            signal=signal.Signals(fields["signal"]),
        )

    def trigger(self, crash: Crash) -> None:
        """Send the signal to this process. Of several processes that get here at once only one is
        signalled; it returns in the others, and in a process that was resumed.
        """
        with suppress(FileNotFoundError):
            self._armed.rename(self._folder / f"crashed-{os.getpid()}")
            os.kill(os.getpid(), crash.signal)

    def crashed_pid(self) -> int | None:
        """The process that was signalled; None: none yet."""
        return next((int(file.name.removeprefix("crashed-")) for file in self._crash_files()), None)

    def set_ordering(self, name: str) -> None:
        """Choose the order of effects of every executor that is started from now on."""
        (self._folder / "ordering").write_text(name)

    def ordering(self) -> str:
        with suppress(FileNotFoundError):
            return (self._folder / "ordering").read_text()
        return ""

    def _crash_files(self) -> Iterator[Path]:
        return self._folder.glob("crashed-*")
