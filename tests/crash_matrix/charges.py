"""Which crash is armed, for whom, and who has died of it? Told between the matrix and the services
by files of one folder.
"""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "CRASH_MATRIX_FOLDER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """``keys``: leader, proxy or partition whose message it must be, lower case; none: whosever.
    ``signal``: SIGKILL, or SIGSTOP.
    """

    boundary: str
    keys: frozenset[str]
    signal: signal.Signals


class Charges:
    """At most one is armed, and it strikes one process, once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._armed = folder / "armed.json"

    def arm(self, charge: Charge) -> None:
        self.disarm()
        written = self._folder / "arming.json"
        written.write_text(
            json.dumps(
                {
                    "boundary": charge.boundary,
                    "keys": sorted(charge.keys),
                    "signal": charge.signal.value,
                }
            )
        )
        written.rename(self._armed)

    def disarm(self) -> None:
        for file in (self._armed, *self._struck()):
            file.unlink(missing_ok=True)

    def armed(self) -> Charge | None:
        try:
            told = json.loads(self._armed.read_text())
        except FileNotFoundError:
            return None
        return Charge(
            boundary=told["boundary"],
            keys=frozenset(told["keys"]),
            signal=signal.Signals(told["signal"]),
        )

    def strike(self, charge: Charge) -> None:
        """End this process here, or stop it; of several that get here at once, one. Returns in all
        others, and in one that was resumed.
        """
        with suppress(FileNotFoundError):
            self._armed.rename(self._folder / f"struck-{os.getpid()}")
            os.kill(os.getpid(), charge.signal)

    def victim(self) -> int | None:
        """The process that was struck."""
        return next((int(file.name.removeprefix("struck-")) for file in self._struck()), None)

    def choose_ordering(self, name: str) -> None:
        """Of every executor that is started from now on."""
        (self._folder / "ordering").write_text(name)

    def ordering(self) -> str:
        with suppress(FileNotFoundError):
            return (self._folder / "ordering").read_text()
        return ""

    def _struck(self) -> Iterator[Path]:
        return self._folder.glob("struck-*")
