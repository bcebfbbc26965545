"""Arguments are parsed exactly, or refused with what is wrong with them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import parsing
from cli.errors import CommandError
from services.paper_venue.faults.catalogue import Fault
from shared.domain.money import as_decimal

CHECKSUMMED = "0xA53135c37e6093625e98866b0a44a428976b3C55"


@pytest.mark.parametrize(
    "spelling", [CHECKSUMMED, CHECKSUMMED.lower(), "0x" + CHECKSUMMED[2:].upper()]
)
def test_an_address_gets_its_checksum(spelling: str) -> None:
    assert parsing.parse_address(spelling, what="the leader") == CHECKSUMMED


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
    with pytest.raises(CommandError, match=wrong):
        parsing.parse_address(text, what="the leader")


@given(st.integers(0, 10**15))
def test_an_amount_is_exact_to_the_base_unit(micros: int) -> None:
    assert parsing.parse_usdc(str(as_decimal(micros)), what="--max") == micros


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("0.0000001", "six decimals"),
        ("-1", "below 0"),
        ("ten", "a number"),
        ("nan", "a number"),
        ("Infinity", "a number"),
        ("", "a number"),
        ("1e999999", "too large or too exact"),
        ("1e400000", "too large or too exact"),
        ("1e-400000", "too large or too exact"),
        ("0e400000", "too large or too exact"),
        ("1" * 5000, "too large or too exact"),
        ("1000000000000.000001", "at most 1000000000000"),
    ],
)
def test_a_wrong_amount_is_refused_and_named(text: str, wrong: str) -> None:
    with pytest.raises(CommandError, match=wrong):
        parsing.parse_usdc(text, what="--max")


def test_slippage_is_given_in_percent() -> None:
    assert parsing.parse_slippage_bps("3") == Decimal(300)
    assert parsing.parse_slippage_bps("0.05") == Decimal(5)


@pytest.mark.parametrize("text", ["-1", "100", "1e5", "x"])
def test_an_impossible_slippage_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="--slippage"):
        parsing.parse_slippage_bps(text)


@pytest.mark.parametrize("text", ["0", "-2", "often"])
def test_a_rate_is_above_zero(text: str) -> None:
    with pytest.raises(CommandError, match="--per-second"):
        parsing.parse_positive(text, what="--per-second")


def test_a_fault_is_given_by_its_name() -> None:
    assert parsing.parse_fault("drop-reply", what="--fault") is Fault.DROP_REPLY


def test_an_unknown_fault_is_refused_with_a_list_of_all_faults() -> None:
    with pytest.raises(CommandError, match="--fault is 'dropreply'") as refused:
        parsing.parse_fault("dropreply", what="--fault")

    assert all(fault.value in str(refused.value) for fault in Fault)


def test_what_became_of_a_lost_transfer_is_a_transaction_or_none() -> None:
    transaction = "0x" + "aB" * 32

    assert (
        parsing.parse_transaction_choice(transaction, not_transferred=False) == transaction.lower()
    )
    assert parsing.parse_transaction_choice(None, not_transferred=True) is None


@pytest.mark.parametrize(
    ("transferred_by", "not_transferred", "wrong"),
    [
        (None, False, "say what became of it"),
        ("0x" + "ab" * 32, True, "say what became of it"),
        ("0xab", False, "64 hexadecimal"),
        ("ab" * 33, False, "64 hexadecimal"),
        ("", False, "64 hexadecimal"),
    ],
)
def test_an_unclear_fate_of_a_lost_transfer_is_refused(
    transferred_by: str | None, not_transferred: bool, wrong: str
) -> None:
    with pytest.raises(CommandError, match=wrong):
        parsing.parse_transaction_choice(transferred_by, not_transferred=not_transferred)
