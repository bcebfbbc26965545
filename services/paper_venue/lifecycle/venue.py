"""What happens, in which order, when an order comes in, is due or is cancelled, or its settlement
is done?

Match, sign the settlement, tell everybody, and only then let it travel to the chain: as at the
venue, a match is told at once with its transaction's hash, and the chain follows.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from services.paper_venue.exchange import rules
from services.paper_venue.exchange.accounts import Holdings
from services.paper_venue.exchange.book import RestingOrder
from services.paper_venue.exchange.matching import Match
from services.paper_venue.exchange.matching_engine import Accepted, MatchingEngine, Refused
from services.paper_venue.exchange.orders import Market, Order, OrderKind, Side
from services.paper_venue.exchange.trades import Trade, TradeStatus, trade_id
from services.paper_venue.faults.catalogue import Fault, Faults
from services.paper_venue.lifecycle.publisher import (
    CANCELED_MARKET_RESOLVED,
    CANCELED_NOT_ENOUGH_BALANCE,
    Channels,
    EventPublisher,
)
from services.paper_venue.lifecycle.settlement import Settlement, SignedTransaction
from shared.chain.addresses import LIVE_EXCHANGES
from shared.chain.orders import InvalidSignature, SignedOrder


class ChainView(Protocol):
    """What the venue reads from the chain."""

    async def fetch_holdings(self, wallet: str, token_ids: Sequence[str]) -> Holdings:
        """Read one wallet at the end of one block. Raises: Transient."""
        ...

    async def fetch_owner(self, wallet: str) -> str | None:
        """The key that may sign for a contract wallet; None: no such wallet. Raises: Transient."""
        ...


class Settlements(Protocol):
    """The way of matches to the chain."""

    def sign(self, settlement: Settlement) -> SignedTransaction:
        """Sign with the next nonce, without asking anybody: the hash is told at match time."""
        ...

    def submit(self, transaction: SignedTransaction, trade: Trade) -> None:
        """Broadcast it after the venue's delay, and report its end to the venue."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedOrder:
    """An order as it was posted."""

    signed: SignedOrder
    kind: OrderKind
    owner: str
    post_only: bool = False
    expiration: int = 0
    """Epoch seconds; 0: none."""


class Venue:
    """One exchange: its books, its trades, and what it tells about them."""

    def __init__(
        self,
        *,
        engine: MatchingEngine,
        verify: Callable[[SignedOrder, str | None, str], str],
        settlements: Settlements,
        channels: Channels,
        chain: ChainView,
        faults: Faults,
    ) -> None:
        """``verify`` gives the order id of an order, its wallet's owner and its exchange. Raises:
        InvalidSignature.
        """
        self.engine = engine
        self.stats: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.publisher = EventPublisher(engine, channels, faults)
        self._verify = verify
        self._settlements = settlements
        self._chain = chain
        self._faults = faults
        self._owners: dict[str, str] = {}
        self._wallets_to_recheck: set[str] = set()

    async def ensure_wallet_loaded(self, wallet: str) -> None:
        """Read a wallet that the venue has not met: its balances, and who may sign for it."""
        if self.engine.accounts.get(wallet).on_chain.block < 0:
            await self.refresh_wallet(wallet)

    async def refresh_wallet(self, wallet: str) -> None:
        """Read a wallet from the chain again, as ``/balance-allowance/update`` asks. Raises:
        Transient.
        """
        if wallet.lower() not in self._owners:
            owner = await self._chain.fetch_owner(wallet)
            if owner is not None:
                self._owners[wallet.lower()] = owner
        self.engine.accounts.refresh(
            wallet, await self._chain.fetch_holdings(wallet, list(self.engine.market_by_token))
        )
        self._wallets_to_recheck.add(wallet)

    def wallet_owner(self, wallet: str) -> str | None:
        """The key that may sign for a contract wallet; None: the venue knows no such wallet."""
        return self._owners.get(wallet.lower())

    def on_order(
        self, posted: PostedOrder, *, now_ms: int
    ) -> tuple[Accepted, Trade | None] | Refused | str:
        """Take an order in. A text: it is no order of this venue at all."""
        market = self.engine.market_by_token.get(str(posted.signed.token_id))
        if market is None:
            return self._reject(rules.INVALID_TOKEN)
        order_id = self._verified_order_id(posted.signed, market.exchange)
        if order_id is None:
            others = (exchange for exchange in LIVE_EXCHANGES if exchange != market.exchange)
            is_misplaced = any(
                self._verified_order_id(posted.signed, exchange) for exchange in others
            )
            return self._reject(rules.VERSION_MISMATCH if is_misplaced else rules.INVALID_SIGNATURE)
        planned = self.engine.plan(
            build_order(order_id, posted, market, now_ms=now_ms), post_only=posted.post_only
        )
        if isinstance(planned, Refused):
            return self._on_refused(planned, now_ms=now_ms)
        return self._on_planned(planned, now_ms=now_ms)

    def on_cancel(self, order_id: str, *, owner: str, now_ms: int) -> str | None:
        """Take an order out of the book. Returns why not, or None."""
        held = self.engine.held.get(order_id)
        if held is not None and held.order.owner == owner:
            return rules.DELAYED_STAYS
        resting = self.engine.resting.get(order_id)
        if resting is None or resting.order.owner != owner:
            return "the order is already canceled or matched"
        cancelled = self.engine.cancel(order_id)
        if cancelled is None:
            raise RuntimeError(f"order {order_id} stood in no book")
        self.publisher.publish_cancelled(*cancelled, now_ms=now_ms)
        return None

    def on_timer(self, now_ms: int) -> None:
        """Match what was held, and drop what is expired or no longer covered; to be called every
        few milliseconds.
        """
        for order in self.engine.due_orders(now_ms):
            self._on_released(self.engine.release(order), now_ms=now_ms)
        for resting, change in self.engine.cancel_expired(now_ms):
            self.publisher.publish_cancelled(resting, change, now_ms=now_ms)
        while self._wallets_to_recheck:
            for resting, change in self.engine.cancel_unfunded(self._wallets_to_recheck.pop()):
                self.publisher.publish_cancelled(
                    resting, change, status=CANCELED_NOT_ENOUGH_BALANCE, now_ms=now_ms
                )

    def on_tick_size_changed(self, condition_id: str, tick: int, now_ms: int) -> None:
        """New orders keep to another tick (in 1/10,000 USDC); those that stand keep their price."""
        market = self.engine.market_by_condition[condition_id]
        self.engine.list_market(replace(market, tick=tick))
        self.publisher.publish_tick_size(condition_id, old_tick=market.tick, now_ms=now_ms)

    def on_market_resolved(self, condition_id: str, yes: int, no: int, now_ms: int) -> None:
        """Close a market for good: YES and NO are worth ``yes`` and ``no`` parts of ``yes + no``."""
        for resting in self.engine.resolve(condition_id, (yes, no)):
            self.publisher.publish_order(
                resting, kind="CANCELLATION", status=CANCELED_MARKET_RESOLVED, now_ms=now_ms
            )
        self.publisher.publish_resolved(
            self.engine.market_by_condition[condition_id], (yes, no), now_ms=now_ms
        )

    def on_mined(self, trade: Trade, *, block: int, now_ms: int) -> None:
        for wallet in trade.wallets:
            self.engine.accounts.settle(wallet, trade.match.taker.id, block=block)
        self.publisher.publish_trade(trade, TradeStatus.MINED, now_ms=now_ms)

    def on_retrying(self, trade: Trade, transaction_hash: str, *, now_ms: int) -> None:
        """The chain refused its transaction; from now on the trade goes by another one's hash."""
        trade.transaction_hash = transaction_hash
        self.publisher.publish_trade(trade, TradeStatus.RETRYING, now_ms=now_ms)

    def on_confirmed(self, trade: Trade, *, now_ms: int) -> None:
        self.stats["settled"] += 1
        self.publisher.publish_trade(trade, TradeStatus.CONFIRMED, now_ms=now_ms)

    def on_failed(self, trade: Trade, *, now_ms: int) -> None:
        """The chain refused: what the match did to the balances is taken back."""
        self.stats["failed"] += 1
        for wallet in trade.wallets:
            self.engine.accounts.revert(wallet, trade.match.taker.id)
        self._wallets_to_recheck.update(trade.wallets)
        self.publisher.publish_trade(trade, TradeStatus.FAILED, now_ms=now_ms)

    def _verified_order_id(self, signed: SignedOrder, exchange: str) -> str | None:
        """The order's hash under the exchange's domain; None: it is not signed so."""
        try:
            return self._verify(signed, self.wallet_owner(signed.maker), exchange)
        except (InvalidSignature, OverflowError):
            return None

    def _reject(self, text: str) -> str:
        self.stats["rejected"] += 1
        self.refusals[text] += 1
        return text

    def _on_refused(self, refused: Refused, *, now_ms: int) -> Refused:
        self._count_refused(refused)
        if refused.is_killed:
            self.publisher.publish_killed(refused.order, refused.text, now_ms=now_ms)
        return refused

    def _on_planned(
        self, planned: Match, *, now_ms: int
    ) -> tuple[Accepted, Trade | None] | Refused:
        """What would match now is held, cut short or matched; what would not, rests."""
        order = planned.taker
        if planned.fills:
            delay_ms = self._delay_ms(order)
            if delay_ms:
                return self._on_held(order, until_ms=now_ms + delay_ms, now_ms=now_ms)
            if not order.kind.may_rest and self._faults.trigger(
                Fault.KILLED_PARTIAL, wallet=order.maker
            ):
                return self._kill_after_partial_fill(order, now_ms=now_ms)
        return self._on_accepted(self.engine.execute(planned), now_ms=now_ms)

    def _delay_ms(self, order: Order) -> int:
        strike = self._faults.trigger(Fault.DELAYED, wallet=order.maker)
        return order.market.taker_delay_ms if strike is None else int(strike.seconds * 1000)

    def _on_held(self, order: Order, *, until_ms: int, now_ms: int) -> tuple[Accepted, None]:
        self.stats["accepted"] += 1
        accepted = self.engine.hold(order, until_ms=until_ms)
        placed = RestingOrder(order=order, remaining=order.shares)
        self.publisher.publish_order(placed, kind="PLACEMENT", status="DELAYED", now_ms=now_ms)
        return accepted, None

    def _on_released(self, result: Accepted | Refused, *, now_ms: int) -> None:
        if isinstance(result, Accepted):
            trade = self._settle(result, now_ms=now_ms) if result.match.fills else None
            self.publisher.publish_accepted(result, trade, was_held=True, now_ms=now_ms)
        elif result.is_killed:
            self._on_refused(result, now_ms=now_ms)
        else:
            self._count_refused(result)
            gone = RestingOrder(order=result.order, remaining=result.order.shares)
            self.publisher.publish_order(
                gone, kind="CANCELLATION", status=CANCELED_NOT_ENOUGH_BALANCE, now_ms=now_ms
            )

    def _kill_after_partial_fill(self, order: Order, *, now_ms: int) -> Refused:
        """The fault: a third of the order trades and settles, and its owner is told that it was
        killed.
        """
        killed = Refused(
            order=order,
            text=rules.FOK_KILLED if order.kind is OrderKind.FOK else rules.FAK_KILLED,
            is_killed=True,
        )
        self._count_refused(killed)
        accepted = self.engine.execute(self.engine.plan_part(order, 3))
        trade = self._settle(accepted, now_ms=now_ms) if accepted.match.fills else None
        self.publisher.publish_accepted(accepted, trade, killed_by=killed.text, now_ms=now_ms)
        return killed

    def _count_refused(self, refused: Refused) -> None:
        self.stats["killed" if refused.is_killed else "rejected"] += 1
        self.refusals[refused.text.replace(refused.order.id, "{id}")] += 1

    def _on_accepted(self, accepted: Accepted, *, now_ms: int) -> tuple[Accepted, Trade | None]:
        self.stats["accepted"] += 1
        trade = self._settle(accepted, now_ms=now_ms) if accepted.match.fills else None
        self.publisher.publish_accepted(accepted, trade, now_ms=now_ms)
        return accepted, trade

    def _settle(self, accepted: Accepted, *, now_ms: int) -> Trade:
        self.stats["matched"] += 1
        match = accepted.match
        transaction = self._settlements.sign(Settlement.from_match(match))
        trade = Trade(
            id=trade_id(match.taker.id),
            match=match,
            fee=match.fee,
            transaction_hash=transaction.hash,
            matched_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        self.publisher.trades.add(trade)
        self._settlements.submit(transaction, trade)
        return trade


def build_order(order_id: str, ticket: PostedOrder, market: Market, *, now_ms: int) -> Order:
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
        expiration=ticket.expiration,
    )
