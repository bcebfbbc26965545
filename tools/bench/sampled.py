"""Run a service and sample its call stack every two milliseconds of CPU time.

    python -m tools.bench.sampled services.executor FILE

It uses a signal per CPU time, not a thread per wall time: a thread would only run where the service
releases the interpreter lock.
"""

import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL_S = 0.002
MAX_SHOWN = 100


class Samples:
    """How often each function was running (own time), and how often it was on the stack (inclusive
    time).
    """

    def __init__(self) -> None:
        self.total = 0
        self.own: Counter[str] = Counter()
        self.inclusive: Counter[str] = Counter()

    def record(self, _: int, frame: FrameType | None) -> None:
        self.total += 1
        names = []
        while frame is not None:
            code = frame.f_code
            names.append(f"{_short(code.co_filename)}:{code.co_firstlineno} {code.co_qualname}")
            frame = frame.f_back
        if names:
            self.own[names[0]] += 1
            self.inclusive.update(set(names))

    def report(self) -> str:
        lines = [f"{self.total} samples of {INTERVAL_S * 1000:.0f} ms"]
        for title, counted in (("own time", self.own), ("inclusive time", self.inclusive)):
            lines.append(f"\n{title}")
            lines += [
                f"{count * 100 / max(1, self.total):6.1f} %  {name}"
                for name, count in counted.most_common(MAX_SHOWN)
            ]
        return "\n".join(lines) + "\n"


def _short(file: str) -> str:
    return file.rpartition("site-packages/")[2].rpartition("python3.11/")[2]


def main() -> None:
    module, file = sys.argv[1], Path(sys.argv[2])
    sys.argv = [module]
    samples = Samples()
    signal.signal(signal.SIGPROF, samples.record)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        file.write_text(samples.report())


if __name__ == "__main__":
    main()
