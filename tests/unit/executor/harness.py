"""The executor's handler on fakes that outlive its process, which may be killed once."""

from collections.abc import Sequence

from services.executor.decisions import OUTCOME_DEADLINE, Order, Trade
from services.executor.handler import Handler
from shared.domain.errors import Transient
from shared.domain.follows import GLOBAL, Mode
from shared.messages.base import Message
from shared.messages.intents import IntentApproved
from shared.messages.orders import OrderReported, OrderState, TradeReported
from shared.messages.transactions import ConfirmationRequested, FillsSettled
from tests.batches import list_messages
from tests.builders import NOON, approved, controls, overdue, seconds
from tests.fakes import Clock, FixedControls, Killed
from tests.unit.executor.fakes import (
    Crash,
    CrashingOrders,
    FakeChain,
    FakeReadiness,
    FakeSigners,
    FakeVenue,
)

VERIFY_FOR = seconds(4)
DEADLINE = approved().expires_at + OUTCOME_DEADLINE
MAX_STARTS = 5
"""Of the process for one message: more means that it never succeeds."""


class ExecutorHarness:
    """One follower's executor; a process of it is started for each message."""

    def __init__(
        self, answer: str = "accepted", *, crash_after: str = "", mode: Mode = Mode.ACTIVE
    ) -> None:
        crash = Crash(after=crash_after)
        self.clock = Clock(NOON)
        self.orders = CrashingOrders(crash=crash)
        self.venue = FakeVenue(self.orders.orders, crash)
        self.venue.answer = answer
        self.chain = FakeChain()
        self.signers = FakeSigners(self.clock)
        self.readiness = FakeReadiness()
        self.controls = FixedControls(controls(modes={GLOBAL: mode}))

    def set_mode(self, mode: Mode) -> None:
        self.controls.controls = controls(modes={GLOBAL: mode})

    @property
    def handler(self) -> Handler:
        return Handler(
            orders=self.orders,
            venue=self.venue,
            chain=self.chain,
            signers=self.signers,
            controls=self.controls,
            readiness=self.readiness,
            now=self.clock,
            verify_for=VERIFY_FOR,
        )

    @property
    def order(self) -> Order:
        intent_id = approved().intent_id
        return self.orders.late.get(intent_id) or self.orders.orders[intent_id]

    @property
    def trade(self) -> Trade:
        (trade,) = self.orders.trades.values()
        return trade

    async def handle(self, *messages: Message) -> list[Message]:
        """What is published when a killed process is started again, and a transient error retried:
        by then the venue accepts the order.
        """
        published: list[Message] = []
        for message in messages:
            published += await self._handle_one(message)
        return published

    async def poll_past_deadline(self) -> list[Message]:
        """What is published while the order is reported as overdue, until after its deadline."""
        published = []
        for moment in (
            self.clock.now,
            NOON + seconds(3),
            NOON + seconds(6),
            DEADLINE,
            DEADLINE + seconds(5),
            DEADLINE + seconds(10),
        ):
            self.clock.now = max(moment, self.clock.now)
            published += await self.handle(overdue())
        return published

    async def _handle_one(self, message: Message) -> Sequence[Message]:
        for _ in range(MAX_STARTS):
            try:
                return await self._dispatch(message)
            except Killed:
                self.orders.late.clear()
            except Transient:
                self.venue.answer = "accepted"
        raise AssertionError(f"{message} was never handled")

    async def _dispatch(self, message: Message) -> Sequence[Message]:
        if isinstance(message, IntentApproved):
            return await self.handler.on_intent_approved(message)
        if isinstance(message, TradeReported):
            return await self.handler.on_trade_reported(message)
        if isinstance(message, FillsSettled):
            return list_messages(await self.handler.on_fills_settled(message))
        return await self.handler.on_order_overdue(overdue())


def reported_states(messages: Sequence[Message]) -> list[OrderState]:
    return [message.state for message in messages if isinstance(message, OrderReported)]


def confirmation_requests(messages: Sequence[Message]) -> list[ConfirmationRequested]:
    return [message for message in messages if isinstance(message, ConfirmationRequested)]
