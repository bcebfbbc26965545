"""Runs a test with many random inputs: FUZZ_INPUTS for each target, different in each session.

Without that variable it is a small number of inputs, the same ones in each session.
"""

import os
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

REQUESTED_INPUTS = os.environ.get("FUZZ_INPUTS")
INPUTS_PER_TARGET = int(REQUESTED_INPUTS or "150")

TRIED_INPUTS: Counter[str] = Counter()
"""How many inputs each target was tried with, for the summary at the end."""

RANDOMS: st.SearchStrategy[Random] = st.randoms(use_true_random=False)

Test = Callable[..., Any]


def fuzzed(test: Test) -> Test:
    """The test, called with one ``rng`` for each input. A failing input is shrunk, and printed with
    what is needed to reproduce it.
    """
    fuzz_settings = settings(
        max_examples=INPUTS_PER_TARGET,
        derandomize=REQUESTED_INPUTS is None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    return fuzz_settings(given(rng=RANDOMS)(test))
