"""The demo ends with every fault of the venue."""

import pytest

from cli.demo.faults import settle_within_s, strike_for
from services.paper_venue.faults.catalogue import Fault


@pytest.mark.parametrize("fault", Fault)
def test_no_strike_takes_a_tenth_of_the_time_for_settling(fault: Fault) -> None:
    strike = strike_for(fault)

    assert 0 < strike.share <= 1
    assert strike.seconds * 10 < settle_within_s(fault)


def test_a_demo_with_a_fault_waits_longer_than_one_without() -> None:
    assert all(settle_within_s(fault) > settle_within_s(None) for fault in Fault)
