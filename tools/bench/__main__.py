"""Measure the paper venue: `python -m tools.bench --only venue`.

`python -m tools.bench.hops` measures the pipeline.
"""

import argparse
import tempfile
from pathlib import Path

import uvloop
from rich.console import Console

from tools.bench.paper_venue import FULL, QUICK, bench_venue

PARTS = ("venue",)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    arguments.add_argument(
        "--quick", action="store_true", help="a few seconds, to see that it runs"
    )
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="slipstream-bench-") as folder:
        uvloop.run(bench_venue(Console(), Path(folder), QUICK if options.quick else FULL))


main()
