"""Every fault of the venue can be chosen for the demo, and none strikes so that the demo could not
end.
"""

import pytest

from cli.demo.faults import settle_within_s, strike_of
from services.paper_venue.faults.catalogue import Fault


@pytest.mark.parametrize("fault", Fault)
def test_what_waits_for_a_fault_waits_less_than_the_demo(fault: Fault) -> None:
    strike = strike_of(fault)

    assert 0 < strike.share <= 1
    assert strike.seconds * 10 < settle_within_s(fault)


def test_a_demo_with_a_fault_waits_longer_than_one_without() -> None:
    assert all(settle_within_s(fault) > settle_within_s(None) for fault in Fault)
