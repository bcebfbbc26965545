"""A database and an event loop for all scripts of a test; and what the scripts have reached, at the
end of the session.
"""

import asyncio
import logging
from collections.abc import Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import open_engine
from tests.integration.properties.copying_machine import REACHED
from tests.patience import patient_settings
from tests.side_by_side import print_reached, report_reached


@pytest.fixture(autouse=True)
def _only_the_script_is_printed(caplog: pytest.LogCaptureFixture) -> None:
    """The services log the faults that a script makes, thousands of them."""
    caplog.set_level(logging.CRITICAL)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def engine(migrated_database_url: str, runner: asyncio.Runner) -> Iterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    runner.run(engine.dispose())


def pytest_sessionfinish(session: pytest.Session) -> None:
    report_reached(session.config, REACHED)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    print_reached(terminalreporter, REACHED)
