"""What happens, in which order, when an order comes in, is cancelled, or its settlement is done?

Match, sign the settlement, tell everybody, and only then let it travel to the chain: as at the venue, a match is told at
once with its transaction's hash, and the chain follows.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from services.paper_venue import frames, rules
from services.paper_venue.accounts import Holdings
from services.paper_venue.book import LevelChange, Resting
from services.paper_venue.engine import Accepted, Engine, Refused
from services.paper_venue.orders import DUST, PRICE_ONE, Market, Order, OrderKind, Side
from services.paper_venue.settlement import Settlement, SignedTransaction
from services.paper_venue.trades import Trade, TradeLog, TradeStatus, trade_id
from services.paper_venue.wire import price_text
from shared.chain.orders import InvalidSignature, SignedOrder


class ChainView(Protocol):
    """What the venue reads from the chain."""

    async def holdings(self, wallet: str, token_ids: Sequence[str]) -> Holdings:
        """Read one wallet at the end of one block. Raises: Transient."""
        ...

    async def owner_of(self, wallet: str) -> str | None:
        """The key that may sign for a contract wallet; None: no such wallet. Raises: Transient."""
        ...


class Settlements(Protocol):
    """The way of matches to the chain."""

    def sign(self, settlement: Settlement) -> SignedTransaction:
        """Sign with the next nonce, without asking anybody: the hash is told at match time."""
        ...

    def follow(self, transaction: SignedTransaction, trade: Trade) -> None:
        """Broadcast it after the venue's delay, and report its end to the venue."""
        ...


class Feeds(Protocol):
    """Who listens at the sockets."""

    def watches(self, token_ids: Iterable[str]) -> bool:
        """Whether anybody is subscribed to one of these tokens: books are not written for nobody."""
        ...

    def tell_market(self, market: Market, events: Sequence[Mapping[str, Any]]) -> None: ...

    def tell_user(self, owner: str, condition_id: str, event: Mapping[str, Any]) -> None: ...

    def tell_activity(self, rows: Sequence[Mapping[str, Any]]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """An order as it was posted."""

    signed: SignedOrder
    kind: OrderKind
    owner: str
    post_only: bool = False


class Venue:
    """One exchange: its books, its trades, and what it tells about them."""

    def __init__(
        self, *, engine: Engine, verify: Callable[[SignedOrder, str | None], str], settlements: Settlements, feeds: Feeds, chain: ChainView
    ) -> None:
        self.engine = engine
        self.trades = TradeLog()
        self.stats: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self._verify = verify
        self._settlements = settlements
        self._feeds = feeds
        self._chain = chain
        self._owners: dict[str, str] = {}
        self._last_price: dict[str, tuple[str, str]] = {}
        self._trades_of_order: defaultdict[str, list[str]] = defaultdict(list)

    async def know(self, wallet: str) -> None:
        """Read a wallet that the venue has not met: its balances, and who may sign for it."""
        if self.engine.accounts.of(wallet).base.block < 0:
            await self.refresh(wallet)

    async def refresh(self, wallet: str) -> None:
        """Read a wallet from the chain again, as ``/balance-allowance/update`` asks. Raises: Transient."""
        if wallet.lower() not in self._owners:
            owner = await self._chain.owner_of(wallet)
            if owner is not None:
                self._owners[wallet.lower()] = owner
        self.engine.accounts.refresh(wallet, await self._chain.holdings(wallet, list(self.engine.market_by_token)))

    def last_trade(self, token_id: str) -> tuple[str, str]:
        """(price, side) of the token's last print; empty side: it has not traded."""
        return self._last_price.get(token_id, ("0.5", ""))

    def trade_ids(self, order_id: str) -> Sequence[str]:
        return self._trades_of_order.get(order_id, ())

    def book_summary(self, token_id: str, *, now_ms: int) -> frames.Json:
        market = self.engine.market_by_token[token_id]
        book = self.engine.books[market.condition_id]
        last_price, _ = self.last_trade(token_id)
        return frames.book_summary(market, market.outcome_index(token_id), book, last_price=last_price, now_ms=now_ms)

    def on_order(self, ticket: Ticket, *, now_ms: int) -> tuple[Accepted, Trade | None] | Refused | str:
        """Take an order in. A text: it is no order of this venue at all."""
        market = self.engine.market_by_token.get(str(ticket.signed.token_id))
        if market is None:
            return self._turned_away(rules.INVALID_TOKEN)
        try:
            order_id = self._verify(ticket.signed, self._owners.get(ticket.signed.maker.lower()))
        except (InvalidSignature, OverflowError):
            return self._turned_away(rules.INVALID_SIGNATURE)
        order = _order(order_id, ticket, market, now_ms=now_ms)
        result = self.engine.place(order, post_only=ticket.post_only)
        if isinstance(result, Refused):
            return self._on_refused(result, now_ms=now_ms)
        return self._on_accepted(result, now_ms=now_ms)

    def on_cancel(self, order_id: str, *, owner: str, now_ms: int) -> str | None:
        """Take an order out of the book. Returns why not, or None."""
        resting = self.engine.resting.get(order_id)
        if resting is None or resting.order.owner != owner:
            return "the order is already canceled or matched"
        cancelled = self.engine.cancel(order_id)
        if cancelled is None:
            raise RuntimeError(f"order {order_id} stood in no book")
        _, change = cancelled
        self._tell_order(resting, kind="CANCELLATION", status="CANCELED", now_ms=now_ms)
        self._tell_levels(resting.order.market, [change], now_ms=now_ms)
        return None

    def on_mined(self, trade: Trade, *, block: int, now_ms: int) -> None:
        for wallet in trade.wallets:
            self.engine.accounts.settled(wallet, trade.match.taker.id, block=block)
        self._tell_trade(trade, TradeStatus.MINED, now_ms=now_ms)

    def on_confirmed(self, trade: Trade, *, now_ms: int) -> None:
        self.stats["settled"] += 1
        self._tell_trade(trade, TradeStatus.CONFIRMED, now_ms=now_ms)

    def on_failed(self, trade: Trade, *, now_ms: int) -> None:
        """The chain refused: what the match did to the balances is taken back."""
        self.stats["failed"] += 1
        for wallet in trade.wallets:
            self.engine.accounts.failed(wallet, trade.match.taker.id)
        self._tell_trade(trade, TradeStatus.FAILED, now_ms=now_ms)

    def _turned_away(self, text: str) -> str:
        self.stats["rejected"] += 1
        self.refusals[text] += 1
        return text

    def _on_refused(self, refused: Refused, *, now_ms: int) -> Refused:
        self.stats["killed" if refused.is_killed else "rejected"] += 1
        self.refusals[refused.text.replace(refused.order.id, "{id}")] += 1
        if refused.is_killed:
            event = frames.killed_event(refused.order, reason=refused.text, now_ms=now_ms)
            self._feeds.tell_user(refused.order.owner, refused.order.market.condition_id, event)
        return refused

    def _on_accepted(self, accepted: Accepted, *, now_ms: int) -> tuple[Accepted, Trade | None]:
        self.stats["accepted"] += 1
        trade = self._settle(accepted, now_ms=now_ms) if accepted.match.fills else None
        self._tell_accepted(accepted, trade, now_ms=now_ms)
        return accepted, trade

    def _settle(self, accepted: Accepted, *, now_ms: int) -> Trade:
        self.stats["matched"] += 1
        match = accepted.match
        transaction = self._settlements.sign(Settlement.of(match))
        trade = Trade(
            id=trade_id(match.taker.id),
            match=match,
            fee=match.fee,
            transaction_hash=transaction.hash,
            matched_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        self.trades.add(trade)
        for order_id in (match.taker.id, *(fill.maker.id for fill in match.fills)):
            self._trades_of_order[order_id].append(trade.id)
        self._settlements.follow(transaction, trade)
        return trade

    def _tell_accepted(self, accepted: Accepted, trade: Trade | None, *, now_ms: int) -> None:
        order, matched = accepted.order, accepted.match.shares
        if order.kind.may_rest:
            placed = Resting(order=order, remaining=order.shares)
            self._tell_order(placed, kind="PLACEMENT", status="LIVE", now_ms=now_ms)
        if trade is None:
            self._tell_levels(order.market, accepted.changes, now_ms=now_ms)
            return
        self._tell_print(trade, now_ms=now_ms)
        updated = Resting(order=order, remaining=order.shares - matched)
        self._tell_order(updated, kind="UPDATE", status="LIVE" if accepted.rests else "MATCHED", now_ms=now_ms)
        if accepted.drops_remainder:
            self._tell_order(updated, kind="CANCELLATION", status="CANCELED", now_ms=now_ms)
        for fill in trade.match.fills:
            gone = fill.resting.remaining <= DUST
            self._tell_order(fill.resting, kind="UPDATE", status="MATCHED" if gone else "LIVE", now_ms=now_ms)
        self._tell_trade(trade, TradeStatus.MATCHED, now_ms=now_ms)

    def _tell_print(self, trade: Trade, *, now_ms: int) -> None:
        """What the public hears of a match: the activity rows, the prints, and then both books anew."""
        self._feeds.tell_activity(frames.activity_rows(trade))
        taker, last = trade.match.taker, trade.match.fills[-1]
        mirrored = taker.market.token_ids[1 - taker.outcome_index]
        opposite = Side(1 - taker.side)
        self._last_price[taker.token_id] = price_text(last.price), taker.side.name
        self._last_price[mirrored] = price_text(PRICE_ONE - last.price), opposite.name
        if self._feeds.watches(taker.market.token_ids):
            books = [frames.book_event(self.book_summary(token, now_ms=now_ms)) for token in taker.market.token_ids]
            self._feeds.tell_market(taker.market, [*frames.last_trade_events(trade), *books])

    def _tell_levels(self, market: Market, changes: Sequence[LevelChange], *, now_ms: int) -> None:
        if changes and self._feeds.watches(market.token_ids):
            book = self.engine.books[market.condition_id]
            self._feeds.tell_market(market, [frames.price_change_event(market, changes, book, now_ms=now_ms)])

    def _tell_order(self, resting: Resting, *, kind: str, status: str, now_ms: int) -> None:
        order = resting.order
        trades = self.trade_ids(order.id) if kind != "PLACEMENT" else ()
        event = frames.order_event(order, kind=kind, status=status, matched=resting.matched, trade_ids=trades, now_ms=now_ms)
        self._feeds.tell_user(order.owner, order.market.condition_id, event)

    def _tell_trade(self, trade: Trade, status: TradeStatus, *, now_ms: int) -> None:
        trade.status, trade.updated_at_ms = status, now_ms
        for owner in trade.owners:
            self._feeds.tell_user(owner, trade.match.taker.market.condition_id, frames.trade_event(trade, owner=owner, now_ms=now_ms))


def _order(order_id: str, ticket: Ticket, market: Market, *, now_ms: int) -> Order:
    signed = ticket.signed
    return Order(
        id=order_id,
        owner=ticket.owner,
        maker=signed.maker,
        market=market,
        token_id=str(signed.token_id),
        side=Side(signed.side),
        kind=ticket.kind,
        maker_amount=signed.maker_amount,
        taker_amount=signed.taker_amount,
        placed_at_ms=now_ms,
        signed=signed,
    )
