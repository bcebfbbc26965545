"""How the workers of pytest-xdist (`-n`) share the tests: this module is a plugin of pytest.

Each worker has a Kafka, a PostgreSQL and a chain of its own. It takes one part after another: a
module, whose tests share a system or a cluster; a folder, whose tests share a venue; or a single
test. What takes longest starts first, so that no worker is left alone with it.
"""

from collections import Counter
from typing import Any

import pytest

WITH_ONE_VENUE = (
    "tests/integration/chain",
    "tests/integration/executor",
    "tests/integration/ingest",
    "tests/integration/paper_venue",
    "tests/integration/polygon_node",
    "tests/integration/pricer",
    "tests/integration/tx_monitor",
)
"""Folders with a fixture that starts a chain, or a venue too, for all of their tests."""
TEST_BY_TEST = ("tests/e2e/test_cli.py",)
"""Modules whose tests share nothing but the worker's Kafka, PostgreSQL and chain."""
STARTED_FIRST = (
    "tests/e2e/test_outages.py",
    "tests/e2e/test_reconciliation.py",
    "tests/e2e/test_crash_matrix.py",
    "tests/e2e/test_faults.py",
    "tests/e2e/test_markets.py",
    "tests/e2e/test_lost_databases.py",
    "tests/e2e/test_exits.py",
    "tests/e2e/test_crashes.py",
    "tests/integration/memory/test_bounds.py",
    "tests/integration/executor",
    "tests/integration/paper_venue",
    "tests/integration/properties/test_copying.py",
    "tests/integration/tx_monitor",
    "tests/integration/history/test_answers.py",
    "tests/integration/ingest",
    "tests/integration/history/test_interruptions.py",
)
"""Parts that take minutes, each suite's by descending time."""

_OUTPUT = "reached"
_reached_by_workers: Counter[str] = Counter()


def part_with(nodeid: str) -> str:
    """Return the part to which the test belongs."""
    module = nodeid.partition("::")[0]
    folder = module.rpartition("/")[0]
    if module in TEST_BY_TEST:
        return nodeid
    return folder if folder in WITH_ONE_VENUE else module


def place_of_part(part: str) -> int:
    """Return its place in the order in which parts start. What is not named starts last."""
    return STARTED_FIRST.index(part) if part in STARTED_FIRST else len(STARTED_FIRST)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: place_of_part(part_with(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Parts as above instead of modules, in their order instead of by how many tests they have."""
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = part_with
    return scheduler


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name what has failed at once: its traceback follows when the last worker has ended."""
    worker = getattr(report, "node", None)
    if report.failed and worker is not None:
        terminal = worker.config.pluginmanager.get_plugin("terminalreporter")
        terminal.write_line(f"\nfailed: {report.nodeid} ({report.when})")


def report_reached(config: pytest.Config, reached: Counter[str]) -> None:
    """Give the session that started this worker, if it is one, what its scripts have reached."""
    if hasattr(config, "workeroutput"):
        config.workeroutput[_OUTPUT] = dict(reached)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker's scripts have reached; a worker that died has not said it."""
    _reached_by_workers.update(getattr(node, "workeroutput", {}).get(_OUTPUT, {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    print_reached(terminalreporter, _reached_by_workers)


def print_reached(terminal: pytest.TerminalReporter, reached: Counter[str]) -> None:
    """Print how often each thing was there to be checked in scripts of copying, if any ran."""
    if reached:
        terminal.section("checked in scripts of copying")
        for name, count in sorted(reached.items()):
            terminal.line(f"{name:<44} {count:>8}")
