"""The venue as the model has it: what it replies, executes and settles; and the followers' wallets,
which its settlements change.
"""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from services.executor.adapters.venue import WalletTrades
from services.executor.decisions import Order, VenueLookup
from services.preflight.decisions import Balance
from services.pricer.decisions import Book, price
from shared.domain.books import Level
from shared.domain.errors import Transient
from shared.domain.ids import derived_id
from shared.domain.money import CENT, MICROS, Side, cost_floor, round_down, shares_for
from shared.messages.intents import (
    Intent,
    IntentApproved,
    Missing,
    NoQuote,
    Quote,
    QuoteSource,
)
from shared.messages.orders import OrderState, TradeReported, TradeStatus
from shared.polymarket.market_data import Market
from shared.polymarket.replies import (
    Accepted,
    Duplicated,
    Killed,
    Reason,
    Rejected,
    Reply,
    ReplyLost,
    RetryLater,
)
from shared.polymarket.request_budget import Priority
from tests.fakes import Clock
from tests.integration.properties.modelled_chain import ModelledChain

RULES = Market(
    condition_id="0x" + "c0" * 32,
    tick_size=Decimal("0.01"),
    min_order_shares=5 * MICROS,
    neg_risk=False,
    fee_rate=Decimal("0.04"),
)
MAX_BALANCE_AGE = timedelta(seconds=15)
THIN_SHARES = 5 * MICROS
FEE_DIVISOR = 100
"""A hundredth of what is paid: below what preflight reserves for the fee."""


class BookState(StrEnum):
    GOOD = "good"
    THIN = "thin"
    """Each side has five shares."""
    FAR = "far"
    """Beyond what a follow's slippage allows."""
    EMPTY = "empty"
    OLD = "old"
    UNAVAILABLE = "unavailable"


class Answer(StrEnum):
    """What the venue does with an order that is posted to it."""

    FILLS = "fills"
    FILLS_HALF = "fills half of an exit"
    KILLS = "kills"
    KILLS_FILLED_IN_PART = "kills an exit that it filled in part"
    REJECTS_FOR_NOW = "rejects for a passing reason"
    REJECTS_CONCLUSIVELY = "rejects for good"
    LATER = "takes no orders now"
    LOSES_REPLY = "fills, and the reply is lost"
    LOSES_ORDER = "never gets the order"
    HOLDS = "holds the order"
    FILLS_WITHOUT_AMOUNTS = "fills, and does not say how much"


class Settlement(StrEnum):
    GOES_ON = "goes on"
    RETRIES = "is retried"
    FAILS = "fails"


@dataclass
class VenueTrade:
    trade_id: str
    order: Order
    shares: int
    usdc: int
    fee_usdc: int
    status: TradeStatus
    matched_at: datetime
    visible_at: datetime
    settlement: Settlement

    def report(self, *, now: datetime) -> TradeReported:
        return TradeReported(
            message_id=f"{self.trade_id}:{self.status}",
            occurred_at=now,
            proxy=self.order.proxy,
            intent_id=self.order.intent_id,
            order_hash=self.order.order_hash,
            trade_id=self.trade_id,
            status=self.status,
            side=self.order.side,
            token_id=self.order.token_id,
            shares=self.shares,
            price=Decimal(self.usdc) / self.shares,
            usdc=self.usdc,
            fee_usdc=self.fee_usdc,
            transaction_hash="0x" + derived_id("settlement", self.trade_id) * 2,
            matched_at=self.matched_at,
        )


@dataclass
class ModelledVenue:
    """Executes the same bytes once, whatever it replies."""

    clock: Clock
    chain: ModelledChain
    planned: deque[Answer] = field(default_factory=deque)
    """For the next orders; those after them are filled."""
    settlements: deque[Settlement] = field(default_factory=deque)
    """Of the next matches; those after them go on."""
    lag: timedelta = timedelta(0)
    """How long its views do not show a match."""
    answers_lookups: bool = True
    posted: dict[str, list[str]] = field(default_factory=dict)
    """The bodies that were posted for each intent."""
    arrived: dict[str, Order] = field(default_factory=dict)
    held: dict[str, Order] = field(default_factory=dict)
    trades: list[VenueTrade] = field(default_factory=list)
    books: dict[str, BookState] = field(default_factory=dict)
    prices: dict[str, Decimal] = field(default_factory=dict)
    usdc: dict[str, int] = field(default_factory=dict)
    """Of each follower, on the chain."""
    wallets_fail: bool = False
    _cached: dict[tuple[str, str], Balance] = field(default_factory=dict)

    # What the pricer asks

    def quote(self, intent: Intent) -> Quote | NoQuote:
        state = self.books.get(intent.token_id, BookState.GOOD)
        if state is BookState.UNAVAILABLE:
            return NoQuote(missing=Missing.UNAVAILABLE)
        return price(intent, book=self._book(intent, state), market=RULES)

    def _book(self, intent: Intent, state: BookState) -> Book:
        depth = {BookState.THIN: THIN_SHARES, BookState.EMPTY: 0}.get(state, 100_000 * MICROS)
        distance = Decimal("0.20") if state is BookState.FAR else Decimal("0.01")
        middle = self.prices[intent.token_id]
        age = timedelta(seconds=30 if state is BookState.OLD else 0)
        return Book(
            bids=(Level(middle - distance, depth),) if depth else (),
            asks=(Level(middle + distance, depth),) if depth else (),
            fetched_at=self.clock.now - age,
            source=QuoteSource.REST,
        )

    # What preflight asks

    def cached_balance(self, intent: Intent, *, neg_risk: bool) -> Balance | None:
        cached = self._cached.get((intent.proxy, intent.token_id))
        if cached is None or self.clock.now - cached.fetched_at > MAX_BALANCE_AGE:
            return None
        return replace(cached, cached=True)

    async def fetch_balance(self, intent: Intent, *, neg_risk: bool, fresh: bool) -> Balance:
        cached = self.cached_balance(intent, neg_risk=neg_risk)
        if not fresh and cached is not None:
            return cached
        if self.wallets_fail:
            raise Transient("the node does not answer")
        balance = Balance(
            usdc=self.usdc[intent.proxy],
            allowance=10**15,
            shares=self.chain.balance(intent.proxy, intent.token_id),
            shares_approved=True,
            fetched_at=self.clock.now,
            cached=False,
        )
        self._cached[intent.proxy, intent.token_id] = balance
        return balance

    # What the executor asks

    async def sign(self, approved: IntentApproved) -> Order:
        return self.sign_at_once(approved)

    def sign_at_once(self, approved: IntentApproved) -> Order:
        intent = approved.intent
        terms = {
            "intent": approved.intent_id,
            "side": intent.side.value,
            "usdc": approved.usdc,
            "shares": approved.shares,
        }
        return Order(
            intent_id=approved.intent_id,
            proxy=intent.proxy,
            leader=intent.leader,
            order_hash="0x" + derived_id("order", approved.intent_id) * 2,
            body=json.dumps(terms),
            side=intent.side,
            token_id=intent.token_id,
            state=OrderState.SIGNED,
            fee_rate=RULES.fee_rate,
            expires_at=approved.expires_at,
            signed_at=self.clock.now,
        )

    def known_reply(self, order: Order, *, may_have_arrived: bool) -> None:
        """It has no gates."""

    async def post_order(self, order: Order) -> Reply:
        self.posted.setdefault(order.intent_id, []).append(order.body)
        if order.order_hash in self.arrived:
            return Duplicated("order is invalid. Duplicated.")
        answer = self.planned.popleft() if self.planned else Answer.FILLS
        match answer:
            case Answer.LATER:
                return RetryLater("trading is currently disabled")
            case Answer.LOSES_ORDER:
                return ReplyLost("ServerDisconnectedError")
            case Answer.REJECTS_FOR_NOW:
                return Rejected(Reason.BALANCE_TOO_LOW, "not enough balance / allowance")
            case Answer.REJECTS_CONCLUSIVELY:
                return Rejected(Reason.BANNED, "address banned")
            case _:
                self.arrived[order.order_hash] = order
                return self._take(order, answer)

    def _take(self, order: Order, answer: Answer) -> Reply:
        is_exit = order.side is Side.SELL
        if answer is Answer.HOLDS:
            self.held[order.order_hash] = order
            return Accepted(
                order_id=order.order_hash, status="delayed", making=0, taking=0, trade_ids=()
            )
        if answer is Answer.KILLS or (answer is Answer.KILLS_FILLED_IN_PART and not is_exit):
            return Killed("there are no matching orders")
        halves = answer in (Answer.FILLS_HALF, Answer.KILLS_FILLED_IN_PART) and is_exit
        trade = self._match(order, half=halves)
        if trade is None or answer is Answer.KILLS_FILLED_IN_PART:
            return Killed("there are no matching orders")
        if answer is Answer.LOSES_REPLY:
            return ReplyLost("ServerDisconnectedError")
        making, taking = (trade.shares, trade.usdc) if is_exit else (trade.usdc, trade.shares)
        if answer is Answer.FILLS_WITHOUT_AMOUNTS:
            making = taking = 0
        return Accepted(
            order_id=order.order_hash,
            status="matched",
            making=making,
            taking=taking,
            trade_ids=(trade.trade_id,),
        )

    def _match(self, order: Order, *, half: bool = False) -> VenueTrade | None:
        terms, middle = json.loads(order.body), self.prices[order.token_id]
        if order.side is Side.BUY:
            usdc = terms["usdc"]
            shares = round_down(shares_for(usdc, middle + Decimal("0.01")), CENT)
        else:
            is_thin = self.books.get(order.token_id) is BookState.THIN
            offered = THIN_SHARES if is_thin else terms["shares"]
            shares = round_down(min(offered, terms["shares"] // (2 if half else 1)), CENT)
            usdc = cost_floor(shares, middle - Decimal("0.01"))
        if shares <= 0 or usdc <= 0:
            return None
        now = self.clock.now
        trade = VenueTrade(
            trade_id=derived_id("venue's trade", order.order_hash),
            order=order,
            shares=shares,
            usdc=usdc,
            fee_usdc=usdc // FEE_DIVISOR,
            status=TradeStatus.MATCHED,
            matched_at=now,
            visible_at=now + self.lag,
            settlement=self.settlements.popleft() if self.settlements else Settlement.GOES_ON,
        )
        self.trades.append(trade)
        return trade

    async def look_up(self, order: Order) -> VenueLookup:
        if not self.answers_lookups:
            raise Transient("the venue does not answer")
        return VenueLookup(
            reports=tuple(self._shown([order.order_hash])), is_open=order.order_hash in self.held
        )

    async def fetch_trades(
        self, proxy: str, orders: Sequence[Order], *, priority: Priority
    ) -> WalletTrades:
        if not self.answers_lookups:
            raise Transient("the venue does not answer")
        return WalletTrades(reports=tuple(self._shown([each.order_hash for each in orders])))

    def _shown(self, order_hashes: Sequence[str]) -> list[TradeReported]:
        now = self.clock.now
        return [
            trade.report(now=now)
            for trade in self.trades
            if trade.order.order_hash in order_hashes and trade.visible_at <= now
        ]

    async def fetch_fill(self, order: Order) -> str:
        """A transaction that filled some of the order, on the chain; empty: there is none."""
        if self.chain.fails:
            raise Transient("the node does not answer")
        settled = (TradeStatus.MINED, TradeStatus.CONFIRMED)
        return next(
            (
                trade.trade_id
                for trade in self.trades
                if trade.order.order_hash == order.order_hash and trade.status in settled
            ),
            "",
        )

    # What happens at the venue by itself

    def end_held_orders(self, *, match: bool) -> None:
        for order in self.held.values():
            if match:
                self._match(order)
        self.held.clear()

    def settle(self) -> None:
        """The settlement of each match goes one step on."""
        for trade in self.trades:
            if trade.status is TradeStatus.MATCHED and trade.settlement is not Settlement.GOES_ON:
                trade.status = TradeStatus.RETRYING
            elif trade.status is TradeStatus.RETRYING and trade.settlement is Settlement.FAILS:
                trade.status = TradeStatus.FAILED
            elif trade.status in (TradeStatus.MATCHED, TradeStatus.RETRYING):
                trade.status = TradeStatus.MINED
                self._move_funds(trade)
            elif trade.status is TradeStatus.MINED:
                trade.status = TradeStatus.CONFIRMED

    def _move_funds(self, trade: VenueTrade) -> None:
        buys, proxy = trade.order.side is Side.BUY, trade.order.proxy
        self.usdc[proxy] += (-trade.usdc if buys else trade.usdc) - trade.fee_usdc
        change = trade.shares if buys else -trade.shares
        self.chain.mine(proxy, trade.order.token_id, change, trade.trade_id)
