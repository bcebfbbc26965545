"""What is read of processes and checkouts."""

import os
from pathlib import Path

from tools.bench.machine import (
    describe_commit,
    measure_speed,
    read_cpu_seconds,
    read_memory_mb,
)

ENDED = 2**22 + 1
"""No process has this number."""


def test_a_process_has_memory_and_cpu_and_one_that_ended_has_none() -> None:
    processes = {"this": os.getpid(), "ended": ENDED}

    memory, cpu = read_memory_mb(processes), read_cpu_seconds(processes)

    assert memory["this"] > 1
    assert cpu["this"] > 0
    assert (memory["ended"], cpu["ended"]) == (0, 0)


def test_what_is_no_checkout_has_no_commit(tmp_path: Path) -> None:
    assert describe_commit(tmp_path) == {"commit": "", "modified": False}


def test_the_speed_of_the_machine_is_a_time() -> None:
    assert measure_speed() > 0
