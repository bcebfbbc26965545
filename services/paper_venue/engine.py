"""What happens when an order arrives or is cancelled: matched, resting, or refused with the venue's text?

Pure state in memory: no I/O and no clock. It keeps the books, and what every wallet has and has reserved.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from services.paper_venue import rules
from services.paper_venue.accounts import Account, Accounts, collateral_for, movements_of
from services.paper_venue.book import Book, LevelChange, Resting
from services.paper_venue.matching import Match, match
from services.paper_venue.orders import DUST, Market, Order, OrderKind, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The order is in: what it matched (maybe nothing), and whether the rest of it stands in the book."""

    order: Order
    match: Match
    rests: bool
    changes: tuple[LevelChange, ...]

    @property
    def drops_remainder(self) -> bool:
        """Whether a part of the order was dropped: it may not rest, or reached more resting orders than one transaction settles."""
        is_whole = self.match.shares >= self.order.shares - DUST if self.order.kind.may_rest else self.match.is_complete
        return not self.rests and not is_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The order is not in, and nothing has changed."""

    order: Order
    text: str
    is_killed: bool = False
    """Whether it was a valid FOK or FAK order that the book could not fill."""


class Engine:
    """The books and accounts of one venue."""

    def __init__(self, markets: Iterable[Market]) -> None:
        self.accounts = Accounts()
        self.markets = tuple(markets)
        self.books = {market.condition_id: Book() for market in self.markets}
        self.market_by_token = {token: market for market in self.markets for token in market.token_ids}
        self.resting: dict[str, Resting] = {}
        self._seen: set[str] = set()

    def place(self, order: Order, *, post_only: bool = False) -> Accepted | Refused:
        """Match the order, and let the rest of it stand or fall as its kind says."""
        book = self.books[order.market.condition_id]
        planned = match(order, book) if order.shares > 0 and order.collateral > 0 else Match(taker=order, fills=())
        refused = self._refuse(order, planned, post_only=post_only)
        if refused:
            return refused
        self._seen.add(order.id)
        changes = [self._fill(fill.resting, fill.shares, book) for fill in planned.fills]
        for movement in movements_of(planned):
            self.accounts.move(movement)
        left = order.shares - planned.shares
        rests = order.kind.may_rest and left > DUST and not planned.is_capped
        if rests:
            changes.append(self._rest(Resting(order=order, remaining=left), book))
        return Accepted(order=order, match=planned, rests=rests, changes=tuple(changes))

    def cancel(self, order_id: str) -> tuple[Resting, LevelChange] | None:
        """Take an order out of the book. None: it does not stand there."""
        resting = self.resting.pop(order_id, None)
        if resting is None:
            return None
        self._account(resting.order).reserve(resting.order, resting.remaining, -1)
        return resting, self.books[resting.order.market.condition_id].remove(resting)

    def _refuse(self, order: Order, planned: Match, *, post_only: bool) -> Refused | None:
        if order.id in self._seen:
            return Refused(order=order, text=rules.duplicated(order.id))
        text = rules.refusal(order) or self._crossing_refusal(order, planned, post_only=post_only) or self._balance_refusal(order, planned)
        if text:
            return Refused(order=order, text=text)
        if order.kind is OrderKind.FOK and not planned.is_complete:
            return Refused(order=order, text=rules.FOK_KILLED, is_killed=True)
        if order.kind is OrderKind.FAK and not planned.fills:
            return Refused(order=order, text=rules.FAK_KILLED, is_killed=True)
        return None

    def _crossing_refusal(self, order: Order, planned: Match, *, post_only: bool) -> str | None:
        if planned.fills and post_only:
            return rules.POST_ONLY_CROSSES
        if planned.fills or not order.kind.may_rest:
            return rules.marketable_refusal(order)
        return None

    def _balance_refusal(self, order: Order, planned: Match) -> str | None:
        """A buyer needs his whole amount, and the fee on top of what trades now; a seller needs his shares."""
        account = self._account(order)
        if order.side is Side.SELL:
            held = account.spendable(token_id=order.token_id, exchange=order.market.exchange)
            return None if held >= order.maker_amount else rules.NOT_ENOUGH
        left = order.shares - planned.shares if order.kind.may_rest else 0
        needed = max(order.maker_amount, planned.collateral + planned.fee + collateral_for(order, max(left, 0)))
        return None if account.spendable(token_id=None, exchange=order.market.exchange) >= needed else rules.NOT_ENOUGH

    def _fill(self, resting: Resting, shares: int, book: Book) -> LevelChange:
        account = self._account(resting.order)
        account.reserve(resting.order, resting.remaining, -1)
        change = book.take(resting, shares)
        if resting.remaining <= DUST:
            del self.resting[resting.order.id]
            return book.remove(resting)
        account.reserve(resting.order, resting.remaining)
        return change

    def _rest(self, resting: Resting, book: Book) -> LevelChange:
        self.resting[resting.order.id] = resting
        self._account(resting.order).reserve(resting.order, resting.remaining)
        return book.add(resting)

    def _account(self, order: Order) -> Account:
        return self.accounts.of(order.maker)
