"""Draw the plots from the kept results: into docs/images, or beside the results of quick runs.

python -m tools.bench.plots [--quick]
"""

import argparse
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from tools.bench import results
from tools.bench.plot_data import Plot, build_plots
from tools.bench.results import FOLDER, QUICK_FOLDER, Run, read_runs
from tools.stack.settings import REPOSITORY

IMAGES = REPOSITORY / "docs" / "images"
MISSING = "no plots: the package pygal is missing, `make bench-plots` installs it"
WIDTH, HEIGHT = 800, 420
HEADROOM = 1.1
UNWANTED = re.compile(rb"<!--.*?-->|<script.*?</script>", re.DOTALL)
"""The day of drawing, the library's address, and what moves the picture in a browser."""


def draw(run: Run, console: Console) -> None:
    """Draw all plots again, now that this run is kept."""
    draw_all(console, quick=run.quick)


def draw_all(console: Console, *, quick: bool) -> None:
    if find_spec("pygal") is None:
        console.print(MISSING)
        return
    folder, images = (QUICK_FOLDER, QUICK_FOLDER) if quick else (FOLDER, IMAGES)
    plots = build_plots(
        hops=read_runs(folder, results.HOPS),
        histories=read_runs(folder, results.HISTORY),
        soaks=read_runs(folder, results.SOAK),
    )
    for file in write_plots(plots, images):
        console.print(f"drawn: {file.relative_to(REPOSITORY)}")


def write_plots(plots: Sequence[Plot], folder: Path) -> list[Path]:
    """Write an SVG file for each plot; return the files."""
    files = []
    for plot in plots:
        files.append(folder / f"{plot.name}.svg")
        files[-1].write_bytes(render(plot))
    return files


def render(plot: Plot) -> bytes:
    """The plot as SVG: the same bytes for the same figures, and no script in it."""
    import pygal
    from pygal.style import Style

    points = [point for line in plot.lines.values() for point in line]
    style = Style(background="white", plot_background="white", font_family="sans-serif")
    chart = pygal.XY(
        title=plot.title,
        x_title=plot.x,
        y_title=plot.y,
        logarithmic=plot.logarithmic,
        xrange=None if plot.logarithmic else (0, max(x for x, _ in points)),
        range=None if plot.logarithmic else (0, HEADROOM * max(y for _, y in points)),
        width=WIDTH,
        height=HEIGHT,
        dots_size=2,
        legend_at_bottom=True,
        truncate_legend=-1,
        js=(),
        no_prefix=True,
        style=style,
    )
    for name, line in plot.lines.items():
        chart.add(name, line)
    return UNWANTED.sub(b"", chart.render())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.plots", description="Draws the plots from the kept results."
    )
    parser.add_argument("--quick", action="store_true", help="of the quick runs")
    options = parser.parse_args(sys.argv[1:])
    draw_all(Console(), quick=options.quick)


if __name__ == "__main__":
    main()
