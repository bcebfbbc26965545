"""Whatever leaders, feeds, venue, chain and crashes do, what is copied keeps to its rules."""

import asyncio
import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.builders import seconds
from tests.integration.properties.copying_machine import REACHED, CopyingMachine
from tests.leases import executor_leases

REQUESTED_INPUTS = os.environ.get("FUZZ_INPUTS")
SCRIPTS = max(1, int(REQUESTED_INPUTS or "800") // 20)
"""Without the variable, the same ones in each session."""
MAX_STEPS = 50

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(0 if REQUESTED_INPUTS else 900),
]

MUST_BE_REACHED = (
    "BUY approved",
    "SELL approved",
    "SELL awaits_entry",
    "SELL no_position",
    "cap used by half",
    "entry delayed",
    "exit by level: leader_out",
    "exit by level: reconciled",
    "exit done",
    "exit unsold",
    "leader is out, and the follow had shares",
    "proportion of what is held",
    "order confirmed",
    "order failed",
    "order killed",
    "order rejected",
    "trade copied whole",
)


def test_copies_keep_to_their_rules_in_any_script(
    engine: AsyncEngine, runner: asyncio.Runner
) -> None:
    CopyingMachine.engine, CopyingMachine.runner = engine, runner
    CopyingMachine.leases = runner.run(executor_leases(engine, duration=seconds(10**6)))

    run_state_machine_as_test(
        CopyingMachine,
        settings=settings(
            max_examples=SCRIPTS,
            stateful_step_count=MAX_STEPS,
            derandomize=REQUESTED_INPUTS is None,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )

    assert [each for each in MUST_BE_REACHED if not REACHED[each]] == []
