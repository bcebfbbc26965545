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

ASKED_FOR = os.environ.get("FUZZ_INPUTS")
INPUTS = int(ASKED_FOR or "150")

TRIED: Counter[str] = Counter()
"""By target, for the summary at the end."""

RANDOMS: st.SearchStrategy[Random] = st.randoms(use_true_random=False)

Test = Callable[..., Any]


def fuzzed(test: Test) -> Test:
    """The test with ``rng``, as often as asked. A failure is made small, and shown with what it was
    found by.
    """
    effort = settings(
        max_examples=INPUTS,
        derandomize=ASKED_FOR is None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    return effort(given(rng=RANDOMS)(test))
