"""Says how many inputs each target was tried with."""

import pytest

from tests.unit.fuzz.effort import TRIED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TRIED:
        terminalreporter.section("fuzzed inputs")
        for target, count in sorted(TRIED.items()):
            terminalreporter.line(f"{target:<24} {count:>8}")
        terminalreporter.line(f"{'all':<24} {TRIED.total():>8}")
