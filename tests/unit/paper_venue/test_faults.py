"""Faults are triggered by their options."""

from decimal import Decimal

import pytest
from pydantic import ValidationError

from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults


def test_no_fault_is_triggered_until_it_is_turned_on() -> None:
    faults = Faults()
    assert all(faults.trigger(fault) is None for fault in Fault)


def test_a_fault_is_triggered_at_most_as_often_as_its_times_option() -> None:
    faults = Faults()
    faults.set({Fault.DROP_REPLY: FaultOptions(times=2)})
    assert [faults.trigger(Fault.DROP_REPLY) is not None for _ in range(4)] == [
        True,
        True,
        False,
        False,
    ]
    assert faults.trigger(Fault.FAILED) is None


def test_the_same_seed_triggers_the_same_share_of_chances() -> None:
    runs = []
    for _ in range(2):
        faults = Faults(seed=7)
        faults.set({Fault.ROWS_MISSING: FaultOptions(share=Decimal("0.3"))})
        runs.append([faults.trigger(Fault.ROWS_MISSING) is not None for _ in range(200)])
    assert runs[0] == runs[1]
    assert 30 < sum(runs[0]) < 90


def test_a_fault_for_one_wallet_does_not_affect_others() -> None:
    faults = Faults()
    faults.set({Fault.CLOSED_ONLY: FaultOptions(only="0xAB")})
    assert faults.trigger(Fault.CLOSED_ONLY, wallet="0xab") is not None
    assert faults.trigger(Fault.CLOSED_ONLY, wallet="0xcd") is None


@pytest.mark.parametrize("invalid", [{"share": 0}, {"share": 2}, {"times": 0}, {"unknown": 1}])
def test_invalid_options_are_rejected(invalid: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        FaultOptions.model_validate(invalid)
