"""What is typed means exactly what it says, or is refused with what is wrong."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import parsing
from cli.errors import WrongInput
from services.paper_venue.faults.catalogue import Fault
from shared.domain.money import as_decimal

CHECKSUMMED = "0xA53135c37e6093625e98866b0a44a428976b3C55"


@pytest.mark.parametrize(
    "spelling", [CHECKSUMMED, CHECKSUMMED.lower(), "0x" + CHECKSUMMED[2:].upper()]
)
def test_an_address_gets_its_checksummed_spelling(spelling: str) -> None:
    assert parsing.address(spelling, what="the leader") == CHECKSUMMED


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (CHECKSUMMED[:-1], "this has 41 characters"),
        (CHECKSUMMED[2:], "0x and 40"),
        (CHECKSUMMED[:-1] + "g", "only the digits"),
        (CHECKSUMMED.replace("A5", "a5"), "does not fit its checksum"),
        ("", "this has 0 characters"),
    ],
)
def test_a_wrong_address_is_refused_with_what_is_wrong(text: str, wrong: str) -> None:
    with pytest.raises(WrongInput, match=wrong):
        parsing.address(text, what="the leader")


@given(st.integers(0, 10**15))
def test_an_amount_is_exact_to_the_base_unit(micros: int) -> None:
    assert parsing.usdc(str(as_decimal(micros)), what="--max") == micros


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("0.0000001", "six decimals"),
        ("-1", "below 0"),
        ("ten", "a number"),
        ("nan", "a number"),
        ("Infinity", "a number"),
        ("", "a number"),
    ],
)
def test_a_wrong_amount_is_refused_and_named(text: str, wrong: str) -> None:
    with pytest.raises(WrongInput, match=wrong):
        parsing.usdc(text, what="--max")


def test_slippage_is_typed_in_percent() -> None:
    assert parsing.slippage_bps("3") == Decimal(300)
    assert parsing.slippage_bps("0.05") == Decimal(5)


@pytest.mark.parametrize("text", ["-1", "100", "1e5", "x"])
def test_an_impossible_slippage_is_refused(text: str) -> None:
    with pytest.raises(WrongInput, match="--slippage"):
        parsing.slippage_bps(text)


@pytest.mark.parametrize("text", ["0", "-2", "often"])
def test_a_rate_is_above_zero(text: str) -> None:
    with pytest.raises(WrongInput, match="--per-second"):
        parsing.above_zero(text, what="--per-second")


def test_a_fault_is_typed_by_its_name() -> None:
    assert parsing.fault("drop-reply", what="--fault") is Fault.DROP_REPLY


def test_an_unknown_fault_is_answered_with_all_that_there_are() -> None:
    with pytest.raises(WrongInput, match="--fault is 'dropreply'") as refused:
        parsing.fault("dropreply", what="--fault")

    assert all(fault.value in str(refused.value) for fault in Fault)
