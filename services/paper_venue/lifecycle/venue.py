"""The venue's entry point: handles orders, cancels, timers, market changes and settlement reports.

A match is carried out, its settlement signed, all events published, and only then is the
transaction broadcast: as at the real venue, a match is published immediately with its transaction's
hash, before the chain has it.
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
        """The address that may sign for a contract wallet; None: no such wallet. Raises:
        Transient.
        """
        ...


class Settlements(Protocol):
    """Signs settlements and brings them to the chain."""

    def sign(self, settlement: Settlement) -> SignedTransaction:
        """Sign with the next nonce, without I/O: the hash is published with the match."""
        ...

    def submit(self, transaction: SignedTransaction, trade: Trade) -> None:
        """Broadcast it after the venue's delay, and report the outcome to the venue."""
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
    """One exchange: its matching engine, its trades, and the events that it publishes."""

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
        """``verify`` takes an order, its wallet's owner and an exchange, and returns the order id;
        it raises InvalidSignature.
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
        """Read a wallet from the chain if the venue has not done so yet. Raises: Transient."""
        if self.engine.accounts.get(wallet).on_chain.block < 0:
            await self.refresh_wallet(wallet)

    async def refresh_wallet(self, wallet: str) -> None:
        """Read a wallet's balances and owner from the chain, as ``/balance-allowance/update``
        requests. Raises: Transient.
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
        """The address that may sign for a contract wallet; None: no such wallet was read."""
        return self._owners.get(wallet.lower())

    def on_order(
        self, posted: PostedOrder, *, now_ms: int
    ) -> tuple[Accepted, Trade | None] | Refused | str:
        """Handle a posted order. A text is the refusal of an order that fits no market here or is
        not validly signed.
        """
        market = self.engine.market_by_token.get(str(posted.signed.token_id))
        if market is None:
            return self._reject(rules.INVALID_TOKEN)
        order_id = self._verified_order_id(posted.signed, market.exchange)
        if order_id is None:
            others = (exchange for exchange in LIVE_EXCHANGES if exchange != market.exchange)
            is_for_another = any(
                self._verified_order_id(posted.signed, exchange) for exchange in others
            )
            return self._reject(
                rules.VERSION_MISMATCH if is_for_another else rules.INVALID_SIGNATURE
            )
        planned = self.engine.plan(
            _build_order(order_id, posted, market, now_ms=now_ms), post_only=posted.post_only
        )
        if isinstance(planned, Refused):
            return self._on_refused(planned, now_ms=now_ms)
        return self._on_planned(planned, now_ms=now_ms)

    def on_cancel(self, order_id: str, *, owner: str, now_ms: int) -> str | None:
        """Cancel a resting order. Returns why it cannot be cancelled; None: it was."""
        held = self.engine.held.get(order_id)
        if held is not None and held.order.owner == owner:
            return rules.DELAYED_STAYS
        resting = self.engine.resting.get(order_id)
        if resting is None or resting.order.owner != owner:
            return "the order is already canceled or matched"
        cancelled = self.engine.cancel(order_id)
        if cancelled is None:
            raise RuntimeError(f"resting order {order_id} is in no book")
        self.publisher.publish_cancelled(*cancelled, now_ms=now_ms)
        return None

    def on_timer(self, now_ms: int) -> None:
        """Match held orders that are due, and cancel orders that expired or lost their funds; to be
        called every few milliseconds.
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
        """Change the tick (1/10,000 USDC) for new orders; resting orders keep their price."""
        market = self.engine.market_by_condition[condition_id]
        self.engine.list_market(replace(market, tick=tick))
        self.publisher.publish_tick_size(condition_id, old_tick=market.tick, now_ms=now_ms)

    def on_market_resolved(self, condition_id: str, yes: int, no: int, now_ms: int) -> None:
        """Close a market for good: YES and NO pay ``yes`` and ``no`` parts of ``yes + no``."""
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
        """Its transaction reverted; the trade is settled by another one, with this hash."""
        trade.transaction_hash = transaction_hash
        self.publisher.publish_trade(trade, TradeStatus.RETRYING, now_ms=now_ms)

    def on_confirmed(self, trade: Trade, *, now_ms: int) -> None:
        self.stats["settled"] += 1
        self.publisher.publish_trade(trade, TradeStatus.CONFIRMED, now_ms=now_ms)

    def on_failed(self, trade: Trade, *, now_ms: int) -> None:
        """The settlement failed: the match's changes of balances are undone."""
        self.stats["failed"] += 1
        for wallet in trade.wallets:
            self.engine.accounts.revert(wallet, trade.match.taker.id)
        self._wallets_to_recheck.update(trade.wallets)
        self.publisher.publish_trade(trade, TradeStatus.FAILED, now_ms=now_ms)

    def _verified_order_id(self, signed: SignedOrder, exchange: str) -> str | None:
        """The order's hash under the exchange's domain; None: not validly signed for it."""
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
        """Hold, match or rest a planned order, or kill it after a partial fill (a fault)."""
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
        options = self._faults.trigger(Fault.DELAYED, wallet=order.maker)
        return order.market.taker_delay_ms if options is None else int(options.seconds * 1000)

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
            cancelled = RestingOrder(order=result.order, remaining=result.order.shares)
            self.publisher.publish_order(
                cancelled, kind="CANCELLATION", status=CANCELED_NOT_ENOUGH_BALANCE, now_ms=now_ms
            )

    def _kill_after_partial_fill(self, order: Order, *, now_ms: int) -> Refused:
        """The fault ``killed-partial``: a third of the order trades and settles, and its owner is
        sent a kill.
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


def _build_order(order_id: str, posted: PostedOrder, market: Market, *, now_ms: int) -> Order:
    signed = posted.signed
    return Order(
        id=order_id,
        owner=posted.owner,
        maker=signed.maker,
        market=market,
        token_id=str(signed.token_id),
        side=Side(signed.side),
        kind=posted.kind,
        maker_amount=signed.maker_amount,
        taker_amount=signed.taker_amount,
        placed_at_ms=now_ms,
        signed=signed,
        expiration=posted.expiration,
    )
