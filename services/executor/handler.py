"""Keep, send, keep: nothing is sent that is not in our books, and no answer is taken for granted."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, assert_never

from services.executor.decisions import (
    Ask,
    Done,
    Order,
    OrderLookup,
    Send,
    after_lookup,
    after_reply,
    is_worth_sending_again,
    may_be_signed,
    needs_a_human,
    next_step,
    rests_on_empty_lookups,
    with_trades,
)
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.follows import Controls, Mode, may_trade
from shared.messages.base import Message
from shared.messages.intents import IntentApproved
from shared.messages.orders import (
    FINAL_STATES,
    OrderOverdue,
    OrderReported,
    OrderState,
    TradeReported,
    TradeStatus,
)
from shared.messages.transactions import ConfirmationRequested, Purpose, TransactionResolved
from shared.polymarket.replies import Reply, RetryLater

logger = logging.getLogger(__name__)


class Orders(Protocol):
    async def record(self, order: Order, approved: IntentApproved) -> Order:
        """Keep the intent's first order, before anything is sent; return the one that stands:
        ``order`` itself only if it is the first.

        Raises: Transient.
        """
        ...

    async def load(self, intent_id: str) -> Order | None:
        """Raises: Transient."""
        ...

    async def save(self, order: Order, *, now: datetime) -> None:
        """Keep what became of the order. Raises: Transient."""
        ...

    async def record_trade(
        self, trade: TradeReported, *, now: datetime
    ) -> tuple[TradeReported, ...]:
        """Keep the trade, if it is news, and return all trades of its order as they stand. Raises:
        Transient.
        """
        ...

    async def load_trades(self, order_hash: str) -> tuple[TradeReported, ...]:
        """All trades of the order as they stand. Raises: Transient."""
        ...

    async def resolve(self, result: TransactionResolved, *, now: datetime) -> None:
        """Keep how the chain settled the trades of a transaction. Raises: Transient."""
        ...


class Venue(Protocol):
    async def post_order(self, order: Order) -> Reply:
        """Post the kept bytes. Never raises for the network: a lost answer is a ``Lost`` reply."""
        ...

    async def look_up(self, order: Order) -> OrderLookup:
        """What the venue has of the order, by its hash. Raises: Transient, InvalidMessage where its
        answer cannot be read.
        """
        ...


class Chain(Protocol):
    async def fetch_fill(self, order: Order) -> str:
        """The transaction that filled some of the order; empty: there is none. Raises: Transient."""
        ...


class Signers(Protocol):
    async def sign(self, approved: IntentApproved) -> Order:
        """The intent's order, the same for the same intent. Raises: InvalidMessage where no valid
        order has its terms; Transient.
        """
        ...


class Permits(Protocol):
    def permit(self, proxy: str) -> None:
        """Raises: Transient where this instance may not begin anything new for the proxy: others
        still may, or old orders come first.
        """
        ...


class ControlsBook(Protocol):
    def current(self) -> Controls:
        """Raises: Transient where the controls are not confirmed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    orders: Orders
    venue: Venue
    chain: Chain
    signers: Signers
    controls: ControlsBook
    permits: Permits
    now: Callable[[], datetime]
    verify_for: timedelta
    """How far the venue's views may lag behind what it does."""

    async def on_intent_approved(self, approved: IntentApproved) -> Sequence[Message]:
        self.permits.permit(approved.intent.proxy)
        order = await self._order_of(approved)
        standing = await self.orders.record(order, approved)
        return await self._advance(standing, is_first=standing is order)

    async def on_order_overdue(self, overdue: OrderOverdue) -> Sequence[Message]:
        order = await self.orders.load(overdue.intent_id)
        return await self._advance(order) if order is not None else []

    async def on_trade_reported(self, trade: TradeReported) -> Sequence[Message]:
        order = await self.orders.load(trade.intent_id)
        if order is None:
            return []
        standing = await self.orders.record_trade(trade, now=self.now())
        return await self._settle(order, with_trades(order, standing), [trade])

    async def on_transaction_resolved(self, result: TransactionResolved) -> Sequence[Message]:
        if result.purpose is Purpose.SETTLEMENT:
            await self.orders.resolve(result, now=self.now())
        return []

    async def _order_of(self, approved: IntentApproved) -> Order:
        """The intent's order, or the same withdrawn. Asked again, right before signing: may it run
        now?

        Signing an intent that has an order already is harmless: it gives the same bytes, and the
        first record stands.
        """
        intent = approved.intent
        mode = self._mode(leader=intent.leader, proxy=intent.proxy)
        if reason := may_be_signed(approved, mode=mode, now=self.now()):
            return withdrawn(approved, reason, now=self.now())
        try:
            return await self.signers.sign(approved)
        except InvalidMessage as error:  # told as an outcome, or what preflight has reserved for it would be held for ever
            return withdrawn(approved, str(error), now=self.now())

    def _mode(self, *, leader: str, proxy: str) -> Mode:
        return self.controls.current().mode(leader=leader, proxy=proxy)

    async def _advance(self, order: Order, *, is_first: bool = False) -> Sequence[Message]:
        step = next_step(order, now=self.now())
        match step:
            case Send():
                return await (
                    self._send(order, is_first=is_first) if self._runs(order) else self._ask(order)
                )
            case Ask():
                return await self._ask(order)
            case Done():
                await self._settle(order, self._alerted(order, OrderLookup(trades=())), [])
                return [reported(order, now=self.now())]
            case _:
                assert_never(step)

    def _runs(self, order: Order) -> bool:
        return may_trade(self._mode(leader=order.leader, proxy=order.proxy), order.side)

    async def _send(self, order: Order, *, is_first: bool) -> Sequence[Message]:
        """Raises: Transient where the venue takes no orders now: nothing happened, the same bytes
        are sent again later.
        """
        sent = replace(order, posted_at=order.posted_at or self.now())
        reply = await self.venue.post_order(sent)
        after = after_reply(sent, reply, is_first=is_first, now=self.now())
        told = await self._settle(order, after, [])
        if isinstance(reply, RetryLater) and after.state is OrderState.SIGNED:
            raise Transient(f"the venue takes no orders now: {reply.text}")
        return told

    async def _ask(self, order: Order) -> Sequence[Message]:
        """A venue that cannot be asked holds up nobody: its feed comes back to the order."""
        found = await self._found(order)
        if found is None:
            return await self._settle(order, self._alerted(order, None), [])
        look = OrderLookup(trades=await self._standing(order, found.trades), is_open=found.is_open)
        after = after_lookup(order, look, now=self.now(), verify_for=self.verify_for)
        if rests_on_empty_lookups(after):
            after = await self._with_the_chains_word(order, after)
        elif (
            not (look.trades or look.is_open)
            and is_worth_sending_again(after, now=self.now())
            and self._runs(after)
        ):
            return await self._send(replace(after, empty_lookups=0), is_first=False)
        return await self._settle(order, self._alerted(after, look), found.trades)

    async def _found(self, order: Order) -> OrderLookup | None:
        try:
            return await self.venue.look_up(order)
        except (Transient, InvalidMessage) as error:
            logger.warning(
                "the venue could not be asked for the order of intent %s: %s",
                order.intent_id,
                error,
            )
            return None

    async def _standing(
        self, order: Order, news: Sequence[TradeReported]
    ) -> tuple[TradeReported, ...]:
        standing = await self.orders.load_trades(order.order_hash) if not news else ()
        for trade in news:
            standing = await self.orders.record_trade(trade, now=self.now())
        return standing

    async def _with_the_chains_word(self, before: Order, ended: Order) -> Order:
        """An order that nobody has said no to ends only where the chain has no fill of it either."""
        try:
            filled_by = await self.chain.fetch_fill(before)
        except Transient as error:
            return replace(
                before,
                state=OrderState.UNKNOWN,
                empty_lookups=ended.empty_lookups,
                reason=f"the chain could not be asked: {error}",
            )
        if not filled_by:
            return ended
        reason = f"the chain has a fill of it in {filled_by}, the venue lists no trade"
        return replace(
            before, state=OrderState.UNKNOWN, empty_lookups=ended.empty_lookups, reason=reason
        )

    def _alerted(self, order: Order, look: OrderLookup | None) -> Order:
        """Call a human, once, with all that is known."""
        if not needs_a_human(order, look, now=self.now()):
            return order
        why = _why_unresolved(order, look)
        logger.error(
            "an order needs a human, %s: intent %s, follower %s, order %s, %s of token %s, %s, told %s %r, sent %s, over at %s, %d looks",
            why, order.intent_id, order.proxy, order.order_hash, order.side, order.token_id, order.state, order.last_reply or "nothing",
            order.reason, order.posted_at, order.expires_at, order.empty_lookups,
        )  # fmt: skip
        return replace(order, alerted_at=self.now(), reason=order.reason or why)

    async def _settle(
        self, before: Order, after: Order, news: Sequence[TradeReported]
    ) -> Sequence[Message]:
        """A final state is told each time that it is looked at: the first telling may have died
        with us.
        """
        if after != before:
            await self.orders.save(after, now=self.now())
        is_told = after.state is not before.state or after.state in FINAL_STATES
        told: list[Message] = [reported(after, now=self.now())] if is_told else []
        return told + [
            confirmation_of(trade, now=self.now()) for trade in news if is_on_chain(trade)
        ]


def _why_unresolved(order: Order, look: OrderLookup | None) -> str:
    if look is None:
        return "the venue does not answer"
    if order.state is OrderState.MATCHED:
        return "its trades are not settled"
    return "the venue still holds it" if look.is_open else "no trade of it is found"


def withdrawn(approved: IntentApproved, reason: str, *, now: datetime) -> Order:
    """An order that is never signed nor sent: kept, so that the intent is not taken up again."""
    return Order(
        intent_id=approved.intent_id,
        proxy=approved.intent.proxy,
        leader=approved.intent.leader,
        order_hash=f"withdrawn:{approved.intent_id}",
        body="",
        side=approved.intent.side,
        token_id=approved.intent.token_id,
        state=OrderState.WITHDRAWN,
        fee_rate=approved.quote.fee_rate,
        expires_at=approved.expires_at,
        signed_at=now,
        reason=reason,
    )


def is_on_chain(trade: TradeReported) -> bool:
    """Before it is mined, a trade's transaction can still be replaced by another."""
    return bool(trade.transaction_hash) and trade.status in (
        TradeStatus.MINED,
        TradeStatus.CONFIRMED,
    )


def reported(order: Order, *, now: datetime) -> OrderReported:
    return OrderReported(
        message_id=f"{order.intent_id}:{order.state}",
        occurred_at=now,
        proxy=order.proxy,
        intent_id=order.intent_id,
        order_hash=order.order_hash,
        state=order.state,
        side=order.side,
        token_id=order.token_id,
        shares=order.shares,
        usdc=order.usdc,
        fee_usdc=order.fee_usdc,
        reason=order.reason,
    )


def confirmation_of(trade: TradeReported, *, now: datetime) -> ConfirmationRequested:
    return ConfirmationRequested(
        message_id=f"{trade.intent_id}:{trade.transaction_hash}",
        occurred_at=now,
        proxy=trade.proxy,
        request_id=f"{trade.intent_id}:{trade.transaction_hash}",
        transaction_hash=trade.transaction_hash,
        purpose=Purpose.SETTLEMENT,
        intent_id=trade.intent_id,
    )
