"""Which transfer is begun next, and which are not begun any more."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.tx_monitor.decisions.actions import choose_next, find_expired
from services.tx_monitor.decisions.policy import GWEI
from services.tx_monitor.decisions.transfers import (
    CLOSED_STATES,
    MINED_STATES,
    OPEN_STATES,
    Seen,
    Transfer,
)
from shared.messages.transfers import Direction, TransferState
from tests.unit.tx_monitor.transfer_facts import (
    POLICY,
    PROXY,
    SECOND,
    START,
    build_block,
    build_seen,
    build_sent,
    build_terms,
)

OTHER_PROXY, OTHER_OPERATOR = f"0x{0xCCC:040x}", f"0x{0xDDD:040x}"
GAS_MONEY = 120_000 * 130 * GWEI
"""For one transfer of pUSD at the suggested fees."""


def queue(request_id: str = "r1", **terms: Any) -> Transfer:
    return Transfer(terms=build_terms(request_id, **terms))


def open_transfers(count: int, **terms: Any) -> list[Transfer]:
    return [
        build_sent(nonce=number, request_id=f"o{number}", proxy=f"0x{number:040x}", **terms)
        for number in range(count)
    ]


def choose(
    queued: list[Transfer],
    opened: list[Transfer] | None = None,
    *,
    seen: Seen | None = None,
    halted: bool = False,
    now: datetime = START,
) -> Transfer | None:
    return choose_next(
        queued, opened or [], seen or build_seen(), now=now, halted=halted, policy=POLICY
    )


def test_the_oldest_is_begun_first() -> None:
    first, second = queue("r1"), queue("r2", proxy=OTHER_PROXY)

    assert choose([first, second]) is first
    assert choose([second, first]) is second
    assert choose([]) is None


def test_a_halted_wallet_begins_nothing() -> None:
    assert choose([queue()], halted=True) is None


@pytest.mark.parametrize("state", sorted(OPEN_STATES))
def test_a_proxy_waits_for_its_open_transfer_and_others_do_not(state: TransferState) -> None:
    """Invariant I11: until it is closed, also by another operator wallet."""
    opened = [replace(build_sent(request_id="o", operator=OTHER_OPERATOR), state=state)]
    second = queue("r2", proxy=OTHER_PROXY)

    assert choose([queue("r1"), second], opened) is second
    assert choose([queue("r1")], opened) is None


@pytest.mark.parametrize("state", sorted(CLOSED_STATES))
def test_a_proxy_does_not_wait_for_a_closed_transfer(state: TransferState) -> None:
    first = queue("r1")

    assert choose([first], [replace(build_sent(request_id="o"), state=state)]) is first


def test_eight_of_a_wallet_are_in_flight_at_most() -> None:
    """Invariant I9."""
    first = queue()

    assert choose([first], open_transfers(7)) is first
    assert choose([first], open_transfers(8)) is None
    assert choose([first], open_transfers(8, operator=OTHER_OPERATOR)) is first


@pytest.mark.parametrize("state", sorted(MINED_STATES))
def test_what_is_in_a_block_is_not_in_flight(state: TransferState) -> None:
    """While finality stalls, what must go on goes on."""
    first = queue(direction=Direction.TO_PROXY)
    opened = [replace(each, state=state) for each in open_transfers(20)]

    assert choose([first], opened, seen=build_seen(finalized=None)) is first


@pytest.mark.parametrize(
    ("finalized", "lag", "is_held"),
    [
        (build_block(96), 60 * SECOND, False),
        (build_block(96), 61 * SECOND, True),
        (None, timedelta.max, True),
        (None, timedelta(0), True),
    ],
)
def test_nothing_is_taken_from_a_proxy_while_finality_lags(
    finalized: Any, lag: timedelta, is_held: bool
) -> None:
    """Invariant I15: what is given to a proxy goes on, also to the same one."""
    taken, given = queue("r1"), queue("r2", direction=Direction.TO_PROXY)
    seen = build_seen(finalized=finalized, finality_lag=lag)

    assert choose([taken, given], seen=seen) is (given if is_held else taken)
    assert choose([taken], seen=seen) is (None if is_held else taken)


def test_a_transfer_that_cannot_be_paid_for_is_not_begun() -> None:
    """Invariant I12: those in flight are paid first."""
    first = queue()

    assert choose([first], seen=build_seen(gas_balance=GAS_MONEY)) is first
    assert choose([first], seen=build_seen(gas_balance=GAS_MONEY - 1)) is None
    in_flight = open_transfers(2)
    assert choose([first], in_flight, seen=build_seen(gas_balance=3 * GAS_MONEY)) is first
    assert choose([first], in_flight, seen=build_seen(gas_balance=3 * GAS_MONEY - 1)) is None


@pytest.mark.parametrize("seconds", [0, 1])
def test_what_was_not_sent_in_time_expires_and_is_not_begun(seconds: int) -> None:
    transfer, never = queue(send_before=START), queue("r2", proxy=PROXY)
    now = START + seconds * SECOND

    (expired,) = find_expired([transfer, never], now=now)

    assert (expired.terms, expired.state) == (transfer.terms, TransferState.EXPIRED)
    assert expired.reason == "its time was over before it was sent"
    assert choose([transfer], now=now) is None
    assert choose([transfer], now=START - SECOND) is transfer
    assert find_expired([transfer], now=START - SECOND) == []


def test_what_has_a_nonce_neither_expires_nor_gets_another() -> None:
    """Invariant I3."""
    sent = build_sent(send_before=START)
    odd = replace(sent, state=TransferState.QUEUED)

    assert find_expired([sent, odd], now=START + SECOND) == []
    assert choose([build_sent(), replace(build_sent(), state=TransferState.QUEUED)]) is None
