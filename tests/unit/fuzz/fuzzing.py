"""How many inputs each target is tried with, and how many it was: FUZZ_INPUTS of each, drawn anew;
without it a few, always the same.
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
"""By target, for the summary at the end."""

RANDOMS: st.SearchStrategy[Random] = st.randoms(use_true_random=False)

Test = Callable[..., Any]


def fuzzed(test: Test) -> Test:
    """The test with ``rng``, as often as asked. A failure is made small, and shown with what it was
    found by.
    """
    effort = settings(
        max_examples=INPUTS_PER_TARGET,
        derandomize=REQUESTED_INPUTS is None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    return effort(given(rng=RANDOMS)(test))
