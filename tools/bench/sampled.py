"""Where does a service spend its processor time? Runs it, and writes down each two milliseconds of
CPU what it was doing.

    python -m tools.bench.sampled services.executor FILE

A signal per CPU time, not a thread per wall time: a thread would only run where the service lets go
of the interpreter.
"""

import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

EVERY_S = 0.002
SHOWN = 100


class Samples:
    """How often each function was running (its own time), and how often it stood in the stack (with
    all that it calls).
    """

    def __init__(self) -> None:
        self.total = 0
        self.own: Counter[str] = Counter()
        self.whole: Counter[str] = Counter()

    def take(self, _: int, frame: FrameType | None) -> None:
        self.total += 1
        names = []
        while frame is not None:
            code = frame.f_code
            names.append(f"{_short(code.co_filename)}:{code.co_firstlineno} {code.co_qualname}")
            frame = frame.f_back
        if names:
            self.own[names[0]] += 1
            self.whole.update(set(names))

    def report(self) -> str:
        lines = [f"{self.total} samples of {EVERY_S * 1000:.0f} ms"]
        for title, counted in (("own time", self.own), ("with all that it calls", self.whole)):
            lines.append(f"\n{title}")
            lines += [
                f"{count * 100 / max(1, self.total):6.1f} %  {name}"
                for name, count in counted.most_common(SHOWN)
            ]
        return "\n".join(lines) + "\n"


def _short(file: str) -> str:
    return file.rpartition("site-packages/")[2].rpartition("python3.11/")[2]


def main() -> None:
    module, file = sys.argv[1], Path(sys.argv[2])
    sys.argv = [module]
    samples = Samples()
    signal.signal(signal.SIGPROF, samples.take)
    signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        file.write_text(samples.report())


if __name__ == "__main__":
    main()
