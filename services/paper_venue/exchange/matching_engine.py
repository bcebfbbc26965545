"""The matching engine: decides what becomes of an order that arrives, is due or is cancelled.

An order is matched, held, rests in the book, or is refused with the venue's text. The engine is
state in memory without I/O or a clock: the markets, their books, and the accounts of all wallets.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush

from services.paper_venue.exchange import rules
from services.paper_venue.exchange.accounts import (
    Account,
    Accounts,
    build_movements,
    collateral_for,
)
from services.paper_venue.exchange.book import Book, LevelChange, RestingOrder
from services.paper_venue.exchange.matching import Fill, Match, match
from services.paper_venue.exchange.orders import Market, Order, OrderKind, Side, is_dust


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An accepted order: what it matched (maybe nothing), and whether its remainder rests in the
    book or all of it is held.
    """

    order: Order
    match: Match
    rests: bool = False
    level_changes: tuple[LevelChange, ...] = ()
    is_held: bool = False
    """It would match, but is delayed before it may."""

    @property
    def status(self) -> str:
        """The ``status`` field of the reply to its POST."""
        if self.is_held:
            return "delayed"
        return "matched" if self.match.fills else "live"

    @property
    def drops_remainder(self) -> bool:
        """Whether a part of the order was dropped: because its kind may not rest, or because it met
        more resting orders than one transaction can settle.
        """
        if self.rests or self.is_held:
            return False
        if self.order.kind.may_rest:
            return not is_dust(self.order.shares - self.match.shares, self.order.price)
        return not self.match.is_complete


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A refused order; nothing has changed."""

    order: Order
    text: str
    is_killed: bool = False
    """Whether it is a valid FOK or FAK order that the book could not fill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOrder:
    """An order that is delayed before it is matched. It reserves funds and cannot be cancelled."""

    order: Order
    until_ms: int


CancelledOrder = tuple[RestingOrder, LevelChange]
"""A resting order as it was when it left the book, and the new depth of its price."""


class MatchingEngine:
    """The markets, books and accounts of one venue."""

    def __init__(self, markets: Iterable[Market]) -> None:
        self.accounts = Accounts()
        self.market_by_condition: dict[str, Market] = {}
        self.market_by_token: dict[str, Market] = {}
        self.books: dict[str, Book] = {}
        self.resting: dict[str, RestingOrder] = {}
        self.held: dict[str, HeldOrder] = {}
        self._accepted_ids: set[str] = set()
        self._expiring: list[tuple[int, str]] = []
        self._resolutions: dict[str, tuple[int, int]] = {}
        for market in markets:
            self.list_market(market)

    @property
    def markets(self) -> tuple[Market, ...]:
        return tuple(self.market_by_condition.values())

    def list_market(self, market: Market) -> None:
        """Open a market, or change the parameters of one: resting orders keep their price."""
        self.market_by_condition[market.condition_id] = market
        self.market_by_token.update(dict.fromkeys(market.token_ids, market))
        self.books.setdefault(market.condition_id, Book())

    def resolution(self, condition_id: str) -> tuple[int, int] | None:
        """The payout numerators of YES and NO; None: the market is open."""
        return self._resolutions.get(condition_id)

    def resolve(self, condition_id: str, payouts: tuple[int, int]) -> list[RestingOrder]:
        """Close a market for good. Returns its resting and held orders, all cancelled, oldest
        first.
        """
        self._resolutions[condition_id] = payouts
        resting_ids = [
            id
            for id, resting in self.resting.items()
            if resting.order.market.condition_id == condition_id
        ]
        held_orders = [
            held.order
            for held in self.held.values()
            if held.order.market.condition_id == condition_id
        ]
        cancelled = [result[0] for id in resting_ids if (result := self.cancel(id)) is not None]
        cancelled += [
            RestingOrder(order=self._end_hold(order), remaining=order.shares)
            for order in held_orders
        ]
        return sorted(cancelled, key=lambda resting: resting.order.placed_at_ms)

    def place(self, order: Order, *, post_only: bool = False) -> Accepted | Refused:
        """Match the order now; its remainder rests or is dropped, by its kind."""
        planned = self.plan(order, post_only=post_only)
        return planned if isinstance(planned, Refused) else self.execute(planned)

    def plan(self, order: Order, *, post_only: bool = False) -> Match | Refused:
        """The match that the order would make now, or why it is refused. Changes nothing."""
        planned = self._match(order)
        text = self._refusal(order, planned, post_only=post_only)
        return Refused(order=order, text=text) if text else self._kill_refusal(planned) or planned

    def plan_part(self, order: Order, divisor: int) -> Match:
        """The match that the ``divisor``-th part of the order would make now. Changes nothing."""
        return self._match(order, divisor)

    def execute(self, planned: Match) -> Accepted:
        """Carry out a planned match; the books must not have changed since it was planned."""
        order, book = planned.taker, self.books[planned.taker.market.condition_id]
        self._accepted_ids.add(order.id)
        changes = [self._remove(resting) for resting in planned.own_orders]
        changes += [self._fill(fill, book) for fill in planned.fills]
        for movement in build_movements(planned):
            self.accounts.add_pending(movement)
        remaining = order.shares - planned.shares
        rests = (
            order.kind.may_rest and not planned.is_capped and not is_dust(remaining, order.price)
        )
        if rests:
            resting = RestingOrder(order=order, remaining=remaining, given=planned.making_amount)
            changes.append(self._rest(resting, book))
        return Accepted(order=order, match=planned, rests=rests, level_changes=tuple(changes))

    def hold(self, order: Order, *, until_ms: int) -> Accepted:
        """Delay a planned order until ``release`` matches it."""
        self._accepted_ids.add(order.id)
        self.held[order.id] = HeldOrder(order=order, until_ms=until_ms)
        self._account(order).reserve(order, order.shares)
        return Accepted(order=order, match=Match(taker=order), is_held=True)

    def due_orders(self, now_ms: int) -> list[Order]:
        """The held orders whose delay is over, the earliest first."""
        return [
            held.order
            for held in sorted(self.held.values(), key=lambda held: held.until_ms)
            if held.until_ms <= now_ms
        ]

    def release(self, order: Order) -> Accepted | Refused:
        """Match a held order against the present book."""
        planned = self._match(self._end_hold(order))
        text = self._balance_refusal(order, planned)
        refused = Refused(order=order, text=text) if text else self._kill_refusal(planned)
        return refused or self.execute(planned)

    def cancel_expired(self, now_ms: int) -> list[CancelledOrder]:
        """Cancel the GTD orders that have expired."""
        cancelled: list[CancelledOrder] = []
        while self._expiring and self._expiring[0][0] * 1000 <= now_ms:
            result = self.cancel(heappop(self._expiring)[1])
            cancelled += [result] if result is not None else []
        return cancelled

    def cancel_unfunded(self, wallet: str) -> list[CancelledOrder]:
        """Cancel a wallet's newest orders until it has funds for those that are left."""
        orders = [
            resting.order
            for resting in self.resting.values()
            if resting.order.maker.lower() == wallet.lower()
        ]
        account = self.accounts.get(wallet)
        cancelled = (
            self.cancel(order.id) for order in reversed(orders) if not account.has_funds_for(order)
        )
        return [result for result in cancelled if result is not None]

    def cancel(self, order_id: str) -> CancelledOrder | None:
        """Take an order out of the book. None: no resting order has this id."""
        resting = self.resting.get(order_id)
        return None if resting is None else (resting, self._remove(resting))

    def _match(self, order: Order, divisor: int = 1) -> Match:
        if order.shares <= 0 or order.collateral <= 0:
            return Match(taker=order)
        return match(order, self.books[order.market.condition_id], divisor=divisor)

    def _refusal(self, order: Order, planned: Match, *, post_only: bool) -> str | None:
        if order.market.condition_id in self._resolutions:
            return rules.closed(order.token_id)
        if order.id in self._accepted_ids:
            return rules.duplicated(order.id)
        return (
            rules.order_refusal(order, post_only=post_only)
            or _crossing_refusal(order, planned, post_only=post_only)
            or self._balance_refusal(order, planned)
        )

    def _kill_refusal(self, planned: Match) -> Refused | None:
        order = planned.taker
        if order.kind is OrderKind.FOK and not planned.is_complete:
            return Refused(order=order, text=rules.FOK_KILLED, is_killed=True)
        if order.kind is OrderKind.FAK and not planned.fills:
            return Refused(order=order, text=rules.FAK_KILLED, is_killed=True)
        return None

    def _balance_refusal(self, order: Order, planned: Match) -> str | None:
        """A buyer needs his whole amount, plus the fee for what trades now; a seller needs his
        shares.
        """
        account = self._account(order)
        if order.side is Side.SELL:
            shares = account.spendable(token_id=order.token_id, exchange=order.market.exchange)
            return None if shares >= order.maker_amount else rules.NOT_ENOUGH
        remaining = order.shares - planned.shares if order.kind.may_rest else 0
        needed = max(
            order.maker_amount,
            planned.collateral + planned.fee + collateral_for(order, max(remaining, 0)),
        )
        return (
            None
            if account.spendable(token_id=None, exchange=order.market.exchange) >= needed
            else rules.NOT_ENOUGH
        )

    def _fill(self, fill: Fill, book: Book) -> LevelChange:
        resting = fill.resting
        account = self._account(resting.order)
        account.reserve(resting.order, resting.remaining, -1)
        change = book.reduce(resting, fill.shares, fill.fill_amount)
        if resting.is_filled:
            del self.resting[resting.order.id]
            return book.remove(resting)
        account.reserve(resting.order, resting.remaining)
        return change

    def _rest(self, resting: RestingOrder, book: Book) -> LevelChange:
        order = resting.order
        self.resting[order.id] = resting
        self._account(order).reserve(order, resting.remaining)
        if order.expiration:
            heappush(self._expiring, (order.expiration, order.id))
        return book.add(resting)

    def _remove(self, resting: RestingOrder) -> LevelChange:
        del self.resting[resting.order.id]
        self._account(resting.order).reserve(resting.order, resting.remaining, -1)
        return self.books[resting.order.market.condition_id].remove(resting)

    def _end_hold(self, order: Order) -> Order:
        del self.held[order.id]
        self._account(order).reserve(order, order.shares, -1)
        return order

    def _account(self, order: Order) -> Account:
        return self.accounts.get(order.maker)


def _crossing_refusal(order: Order, planned: Match, *, post_only: bool) -> str | None:
    crosses = bool(planned.fills or planned.own_orders)
    if crosses and post_only:
        return rules.POST_ONLY_CROSSES
    if planned.fills or not order.kind.may_rest:
        return rules.marketable_refusal(order)
    return None
