"""Scripts of leaders who get out unseen, each of which sold too much once or would if a rule of
reconciliation were dropped.
"""

import asyncio
from collections.abc import Callable
from decimal import Decimal

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.decisions import Limits
from shared.domain.terms import ExitMode
from tests.builders import seconds, usdc
from tests.integration.properties import copying_machine
from tests.integration.properties.copying_machine import CopyingMachine
from tests.integration.properties.modelled_venue import BookState
from tests.integration.properties.pipeline import INGEST
from tests.leases import executor_leases

pytestmark = pytest.mark.integration

PRICE = Decimal("0.50")
TERMS = {
    "fixed_usdc": usdc(25),
    "percent": None,
    "max_slippage_bps": Decimal(600),
    "exits": ExitMode.PROPORTIONAL,
}
LIMITS = Limits(
    max_quote_age=seconds(5),
    max_last_book_age=seconds(20),
    max_bound_age=seconds(70),
    max_entry_age=seconds(60),
    max_exit_age=seconds(600),
    max_trade_usdc=usdc(1000),
)


def he_moves_half_out_and_sells_half_of_the_rest(machine: CopyingMachine) -> None:
    machine.leader_moves_shares_out(0, 0, 50)
    machine.leader_sells(0, 0, PRICE, 50, 1, 0b1111)


def his_sale_is_reported_after_it_was_reconciled(machine: CopyingMachine) -> None:
    machine.leader_sells(0, 0, PRICE, 50, 1, 0)
    machine.block_is_mined(False)
    for _ in range(4):
        machine.time_passes(61, 50, 0)


def his_purchase_is_quoted_while_he_is_compared(machine: CopyingMachine) -> None:
    machine.leader_moves_shares_out(0, 0, 50)
    for _ in range(2):
        machine.time_passes(30, 50, 0)
    machine.leader_buys(0, 0, PRICE, [(100, 0)], 0b0001)
    machine.runner.run(machine.pipeline.work_on_all_keys(INGEST))
    machine.time_passes(30, 0, 0)


@pytest.mark.parametrize(
    "script",
    [
        he_moves_half_out_and_sells_half_of_the_rest,
        his_sale_is_reported_after_it_was_reconciled,
        his_purchase_is_quoted_while_he_is_compared,
    ],
)
def test_a_leader_who_gets_out_unseen_is_followed_in_proportion(
    engine: AsyncEngine,
    runner: asyncio.Runner,
    monkeypatch: pytest.MonkeyPatch,
    script: Callable[[CopyingMachine], None],
) -> None:
    """The machine checks at each rest that the follow keeps the part that its leader keeps."""
    monkeypatch.setattr(copying_machine, "note", lambda _: None)
    CopyingMachine.engine, CopyingMachine.runner = engine, runner
    CopyingMachine.leases = runner.run(executor_leases(engine, duration=seconds(10**6)))
    machine = CopyingMachine()
    machine.begin((TERMS, TERMS, TERMS), LIMITS, 0, 1000, [], (100,))
    machine.leader_buys_and_is_copied(0, 0, PRICE, [(100, 0)], 0b0100, 0)
    machine.everything_settles(BookState.GOOD, ())

    script(machine)
    machine.everything_settles(BookState.GOOD, ())

    sold = [each for each in machine.venue.trades if each.order.side.value == "SELL"]
    machine.teardown()
    assert sold
