"""A small fake behind each port of the executor's handler."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from services.executor.decisions import Order, Trade, VenueLookup
from shared.domain.errors import InvalidMessage, Transient
from shared.messages.intents import IntentApproved
from shared.messages.orders import OrderState, TradeReported
from shared.polymarket.replies import (
    Accepted,
    Duplicated,
    Reason,
    Rejected,
    Reply,
    ReplyLost,
    RetryLater,
)
from shared.polymarket.replies import Killed as KilledByVenue
from tests.builders import ORDER_HASH, a_trade, shares, usdc
from tests.fakes import Clock, FakeOrders, Killed

BODY = "signed bytes"


@dataclass(frozen=True, slots=True)
class Answer:
    """The venue's reply to a posted order, and whether it executes the order."""

    reply: Reply
    executes: bool = False


ANSWERS = {
    "accepted": Answer(
        Accepted(
            order_id=ORDER_HASH,
            status="matched",
            making=usdc(5),
            taking=shares(10),
            trade_ids=("venue-1",),
        ),
        executes=True,
    ),
    "delayed": Answer(
        Accepted(order_id=ORDER_HASH, status="delayed", making=0, taking=0, trade_ids=()),
        executes=True,
    ),
    "killed": Answer(KilledByVenue("FOK orders are fully filled or killed.")),
    "killed with a partial fill": Answer(
        KilledByVenue("FOK orders are fully filled or killed."), executes=True
    ),
    "matched with trade ids only": Answer(
        Accepted(order_id=ORDER_HASH, status="matched", making=0, taking=0, trade_ids=("venue-1",)),
        executes=True,
    ),
    "rejected for the balance": Answer(
        Rejected(Reason.BALANCE_TOO_LOW, "not enough balance / allowance")
    ),
    "rejected for its price": Answer(
        Rejected(Reason.OFF_TICK, "breaks minimum tick size rule: 0.01")
    ),
    "repeated by a gateway": Answer(Duplicated("order is invalid. Duplicated."), executes=True),
    "reply lost": Answer(ReplyLost("ServerDisconnectedError"), executes=True),
    "request lost": Answer(ReplyLost("ServerDisconnectedError")),
    "retry later": Answer(RetryLater("restart", 1)),
}


@dataclass(slots=True)
class Crash:
    """Kills the process the first time that it has completed a step."""

    after: str = ""

    def passed(self, step: str) -> None:
        if step == self.after:
            self.after = ""
            raise Killed


@dataclass
class CrashingOrders(FakeOrders):
    crash: Crash = field(default_factory=Crash)

    async def record(self, order: Order, approved: IntentApproved) -> Order:
        recorded = await super().record(order, approved)
        self.crash.passed("record")
        return recorded

    async def save(self, order: Order, *, now: datetime) -> None:
        await super().save(order, now=now)
        self.crash.passed("save")

    async def save_later(self, order: Order, *, now: datetime) -> None:
        await super().save_later(order, now=now)
        self.crash.passed("save later")

    async def settle(self, order: Order, trades: Iterable[Trade], *, now: datetime) -> None:
        await super().settle(order, trades, now=now)
        self.crash.passed("settle")


class FakeVenue:
    """Executes the same bytes once, whatever it replies."""

    def __init__(self, recorded: Mapping[str, Order], crash: Crash) -> None:
        self._recorded, self._crash = recorded, crash
        self.answer = "accepted"
        self.posted: list[str] = []
        self.executed: set[str] = set()
        self.trades: tuple[TradeReported, ...] = ()
        self.shows_trades = True
        self.holds_order = False
        self.is_reachable = True

    def known_reply(self, order: Order, *, may_have_arrived: bool) -> Reply | None:
        return None

    async def post_order(self, order: Order) -> Reply:
        assert self._recorded[order.intent_id].body == order.body, "sent before it was recorded"
        self.posted.append(order.body)
        reply = self._execute(order)
        self._crash.passed("post")
        return reply

    def _execute(self, order: Order) -> Reply:
        if order.body in self.executed:
            return Duplicated("order is invalid. Duplicated.")
        answer = ANSWERS[self.answer]
        if answer.executes:
            self.executed.add(order.body)
            self.trades = (a_trade(),)
        return answer.reply

    async def look_up(self, order: Order) -> VenueLookup:
        if not self.is_reachable:
            raise Transient("the venue is away")
        self._crash.passed("look up")
        trades = self.trades if self.shows_trades else ()
        return VenueLookup(reports=trades, is_open=self.holds_order)


@dataclass(slots=True)
class FakeChain:
    """The transaction that filled the order; empty: none did."""

    filled_by: str = ""
    is_reachable: bool = True

    async def fetch_fill(self, order: Order) -> str:
        if not self.is_reachable:
            raise Transient("no node")
        return self.filled_by


@dataclass(slots=True)
class FakeSigners:
    clock: Clock
    has_key: bool = True
    has_api_key: bool = True

    async def sign(self, approved: IntentApproved) -> Order:
        if not self.has_key:
            raise InvalidMessage("there is no key")
        return self._build_order(approved)

    def sign_at_once(self, approved: IntentApproved) -> Order | None:
        if not self.has_key:
            raise InvalidMessage("there is no key")
        return self._build_order(approved) if self.has_api_key else None

    def _build_order(self, approved: IntentApproved) -> Order:
        intent = approved.intent
        return Order(
            intent_id=approved.intent_id,
            proxy=intent.proxy,
            leader=intent.leader,
            order_hash=ORDER_HASH,
            body=BODY,
            side=intent.side,
            token_id=intent.token_id,
            state=OrderState.SIGNED,
            fee_rate=approved.quote.fee_rate,
            expires_at=approved.expires_at,
            signed_at=self.clock(),
        )


@dataclass(slots=True)
class FakeReadiness:
    is_ready: bool = True

    def require_ready(self, proxy: str) -> None:
        if not self.is_ready:
            raise Transient(f"the open orders of {proxy} come first")
