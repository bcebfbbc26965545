"""Prints how many inputs each target was tried with, at the end of the test session."""

import pytest

from tests.unit.fuzz.fuzzing import TRIED_INPUTS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TRIED_INPUTS:
        terminalreporter.section("fuzzed inputs")
        for target, count in sorted(TRIED_INPUTS.items()):
            terminalreporter.line(f"{target:<24} {count:>8}")
        terminalreporter.line(f"{'all':<24} {TRIED_INPUTS.total():>8}")
