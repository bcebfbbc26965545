"""Every service's message handlers, each on new stores and fakes in memory."""

from collections.abc import Callable

from services.debt_recovery.handler import Handler as DebtRecovery
from services.executor.handler import Handler as Executor
from services.ingest.handler import Handler as Ingest
from services.tx_monitor.handler import Handler as TxMonitor
from shared.messages.debts import DebtRaised
from shared.messages.intents import CopyIntended, IntentApproved, IntentQuoted, IntentRefused
from shared.messages.leader_fills import LeaderFillSeen
from shared.messages.orders import OrderOverdue, OrderReported, TradeReported
from shared.messages.transactions import (
    ConfirmationRequested,
    FillsSettled,
    ReceiptSeen,
    TransactionResolved,
)
from shared.messages.transfers import TransferReported, TransferRequested
from shared.streams.routes import Routes, ignored
from tests.builders import NOON, a_market, controls, seconds, usdc
from tests.fakes import (
    Clock,
    FakeComplements,
    FakeDebts,
    FakeHoldings,
    FakeTrades,
    FakeTransfers,
    FakeWatches,
    FixedControls,
)
from tests.unit.executor.harness import ExecutorHarness
from tests.unit.preflight.test_handler import balance, preflight
from tests.unit.pricer.test_handler import FULL, FixedSource, a_handler

CLOCK = Clock(NOON)


def ingest() -> Routes:
    return {
        LeaderFillSeen: Ingest(
            trades=FakeTrades(),
            holdings=FakeHoldings(),
            complements=FakeComplements(),
            controls=FixedControls(controls()),
            now=CLOCK,
        ).on_leader_fill_seen
    }


def pricer() -> Routes:
    handler = a_handler(FixedSource(FULL), FixedSource(a_market()))
    return {CopyIntended: handler.on_copy_intended}


def preflight_() -> Routes:
    handler = preflight(balance(usdc(1000))).handler
    return {
        IntentQuoted: handler.on_intent_quoted,
        OrderReported: handler.on_order_reported,
        IntentRefused: ignored,
    }


def executor() -> Routes:
    handler: Executor = ExecutorHarness().handler
    return {
        IntentApproved: handler.on_intent_approved,
        TradeReported: handler.on_trade_reported,
        OrderOverdue: handler.on_order_overdue,
        TransactionResolved: handler.on_transaction_resolved,
        FillsSettled: handler.on_fills_settled,
        TransferReported: ignored,
    }


def tx_monitor() -> Routes:
    handler = TxMonitor(
        watches=FakeWatches(),
        transfers=FakeTransfers(),
        has_key=lambda _: True,
        wake=lambda _: None,
        now=CLOCK,
        give_up_after=seconds(60),
    )
    return {
        ConfirmationRequested: handler.on_confirmation_requested,
        TransferRequested: handler.on_transfer_requested,
        ReceiptSeen: handler.on_receipt_seen,
    }


def debt_recovery() -> Routes:
    return {DebtRaised: DebtRecovery(debts=FakeDebts()).on_debt_raised, IntentRefused: ignored}


ROUTES_BY_SERVICE: dict[str, Callable[[], Routes]] = {
    "ingest": ingest,
    "pricer": pricer,
    "preflight": preflight_,
    "executor": executor,
    "tx-monitor": tx_monitor,
    "debt-recovery": debt_recovery,
}
