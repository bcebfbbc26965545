"""Turns approved intents into orders and follows each until it is final.

An order is recorded before it is sent, and the venue's reply is recorded before it is reported.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import assert_never

from services.executor.decisions import (
    Done,
    Fill,
    LookUp,
    NewOrder,
    Order,
    OrderLookup,
    RecordedOrder,
    Send,
    Settlement,
    Trade,
    VenueLookup,
    apply_lookup,
    apply_matched_amounts,
    apply_new_trades,
    apply_reply,
    apply_reports,
    build_confirmation_request,
    build_order_report,
    build_withdrawn_order,
    describe_contradiction,
    describe_unresolved,
    is_in_block,
    is_matched_at_once,
    is_reported,
    is_worth_sending_again,
    may_have_arrived,
    merge_trades,
    needs_alert,
    needs_chain_check,
    next_step,
    settle,
    sum_fills,
    unresolved_reason,
    withdrawal_reason,
)
from services.executor.handler.ports import Chain, ControlsReader, Orders, Readiness, Signers, Venue
from services.executor.handler.turns import Turns
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.follows import Mode, may_trade
from shared.messages.base import Message
from shared.messages.intents import IntentApproved
from shared.messages.orders import OrderOverdue, OrderState, TradeReported
from shared.messages.transactions import FillsSettled, Purpose, TransactionResolved
from shared.polymarket.replies import RetryLater
from shared.streams.routes import InTrace, Outcome, Received

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    orders: Orders
    venue: Venue
    chain: Chain
    signers: Signers
    controls: ControlsReader
    readiness: Readiness
    now: Callable[[], datetime]
    verify_for: timedelta
    """How far the venue's views of trades and orders may lag."""
    turns: Turns = field(default_factory=Turns)

    async def on_intent_approved(self, approved: IntentApproved) -> Sequence[Message]:
        self.readiness.require_ready(approved.intent.proxy)
        order = await self._sign_or_withdraw(approved)
        recorded = await self.orders.record(order, approved)
        return await self._run_next_step(recorded, is_first_post=recorded is order)

    async def on_intents_approved(
        self, batch: Sequence[Received[IntentApproved]]
    ) -> Sequence[Outcome]:
        """All that can be signed at once are recorded in one statement, and then posted each by
        itself. A batch waits until the orders that already wait to be sent have had their turn:
        mode, terms and time are looked at as late as possible. Raises: Transient.
        """
        async with self.turns.take():
            pass
        new = {
            number: NewOrder(order=order, approved=each.message, traceparent=each.traceparent)
            for number, each in enumerate(batch)
            if (order := self._sign_at_once(each.message)) is not None
        }
        recorded = await self.orders.record_all(list(new.values())) if new else ()
        outcomes: list[Outcome] = [None] * len(batch)
        for (number, each), order in zip(new.items(), recorded, strict=True):
            if order is each.order:
                outcomes[number] = self._run_next_step(each.order, is_first_post=True)
        return outcomes

    async def on_order_overdue(self, overdue: OrderOverdue) -> Sequence[Message]:
        order = await self.orders.load(overdue.intent_id)
        return await self._run_next_step(order) if order is not None else []

    async def on_trade_reported(self, trade: TradeReported) -> Sequence[Message]:
        order = await self.orders.load(trade.intent_id)
        if order is None:
            return []  # it was pruned: positions have its trades in their sums
        if order.order_hash != trade.order_hash:  # it was pruned, and its intent came again
            ids = (trade.order_hash, trade.intent_id, order.order_hash)
            logger.warning("a trade of order %s is not recorded: intent %s has order %s", *ids)
            return []
        trades, changed = await self._apply_reports(order, [trade])
        after = apply_new_trades(order, trades, now=self.now()) if changed else order
        return await self._save_and_report(order, after, [trade], changed=changed)

    async def on_fills_settled(self, settled: FillsSettled) -> Sequence[InTrace]:
        """Fills of orders that are not ours are the follower's own: they change nothing."""
        fills = sum_fills(settled)
        settlements = self._settle(settled, fills, await self.orders.load_by_hash(fills))
        await asyncio.gather(
            *(
                self.orders.settle(each.after, each.trades, now=self.now())
                for each in settlements
                if not each.is_known
            )
        )
        return self._report_settlements(settlements)

    async def on_fills_settled_of_many(
        self, batch: Sequence[Received[FillsSettled]]
    ) -> Sequence[Outcome]:
        """Those of open orders that are known here are recorded in one statement."""
        found = [self._settle_open(each.message) for each in batch]
        changed = [each for of_one in found for each in of_one or () if not each.is_known]
        results = await self.orders.settle_all(changed, now=self.now()) if changed else ()
        refused = {
            each.after.intent_id
            for each, is_written in zip(changed, results, strict=True)
            if not is_written
        }
        return [
            None
            if of_one is None or any(each.after.intent_id in refused for each in of_one)
            else self._report_settlements(of_one)
            for of_one in found
        ]

    async def on_transaction_resolved(self, result: TransactionResolved) -> Sequence[Message]:
        if result.purpose is Purpose.SETTLEMENT:
            await self.orders.record_settlement(result, now=self.now())
        return []

    async def _sign_or_withdraw(self, approved: IntentApproved) -> Order:
        """The intent's signed order, or a withdrawn one where mode, terms or time forbid it by now.

        Signing an intent that has an order already is harmless: the bytes are the same, and the
        first record is kept.
        """
        if (withdrawn := self._withdraw_if_needed(approved)) is not None:
            return withdrawn
        try:
            return await self.signers.sign(approved)
        except InvalidMessage as error:  # without an outcome, its reservation would never end
            return build_withdrawn_order(approved, str(error), now=self.now())

    def _sign_at_once(self, approved: IntentApproved) -> Order | None:
        """As ``_sign_or_withdraw``; None: it may have to wait."""
        try:
            self.readiness.require_ready(approved.intent.proxy)
            return self._withdraw_if_needed(approved) or self.signers.sign_at_once(approved)
        except (Transient, InvalidMessage):
            return None

    def _withdraw_if_needed(self, approved: IntentApproved) -> Order | None:
        intent = approved.intent
        controls = self.controls.current()
        follow = controls.follow(leader=intent.leader, proxy=intent.proxy, side=intent.side)
        reason = withdrawal_reason(
            approved,
            mode=controls.mode(leader=intent.leader, proxy=intent.proxy),
            follow=follow,
            now=self.now(),
        )
        return build_withdrawn_order(approved, reason, now=self.now()) if reason else None

    def _mode(self, *, leader: str, proxy: str) -> Mode:
        return self.controls.current().mode(leader=leader, proxy=proxy)

    async def _run_next_step(
        self, order: Order, *, is_first_post: bool = False
    ) -> Sequence[Message]:
        step = next_step(order, now=self.now())
        match step:
            case Send():
                return await self._send_in_turn(order, is_first_post=is_first_post)
            case LookUp():
                return await self._look_up(order)
            case Done():
                return await self._save_and_report(
                    order, self._alert_if_needed(order, OrderLookup(trades=())), []
                )
            case _:
                assert_never(step)

    async def _send_in_turn(self, order: Order, *, is_first_post: bool) -> Sequence[Message]:
        """Send an order when it has its turn, unless its time or its mode is over by then.

        Raises: Transient, as ``_send``, and where it has no turn.
        """
        async with self.turns.take():
            if isinstance(next_step(order, now=self.now()), Send) and self._may_trade(order):
                return await self._send(order, is_first_post=is_first_post)
        return await self._look_up(order)

    def _may_trade(self, order: Order) -> bool:
        return may_trade(self._mode(leader=order.leader, proxy=order.proxy), order.side)

    async def _send(self, order: Order, *, is_first_post: bool) -> Sequence[Message]:
        """Raises: Transient where the venue takes no orders now and has taken none of these bytes:
        they are sent again later.
        """
        arrived = may_have_arrived(order, is_first_post=is_first_post)
        sent, reply = order, self.venue.known_reply(order, may_have_arrived=arrived)
        if reply is None:
            sent = replace(order, posted_at=order.posted_at or self.now())
            reply = await self.venue.post_order(sent)
        after = apply_reply(sent, reply, is_first_post=is_first_post, now=self.now())
        if is_matched_at_once(sent, after):
            await self.orders.save_later(after, now=self.now())
            return []
        reports = await self._save_and_report(order, after, [])
        if isinstance(reply, RetryLater) and after.state is OrderState.SIGNED:
            raise Transient(f"the venue takes no orders now: {reply.text}")
        return reports

    async def _look_up(self, order: Order) -> Sequence[Message]:
        """A venue that does not answer blocks no key: ``VenueFeed`` reports the order again."""
        fetched = await self._fetch_lookup(order)
        if fetched is None:
            return await self._save_and_report(order, self._alert_if_needed(order, None), [])
        matched = apply_matched_amounts(order, fetched.reports)
        trades, changed = await self._apply_reports(matched, fetched.reports)
        lookup = OrderLookup(trades=trades, is_open=fetched.is_open)
        after = apply_lookup(matched, lookup, now=self.now(), verify_for=self.verify_for)
        if needs_chain_check(after):
            after = await self._check_chain(order, after)
        elif (
            not (lookup.trades or lookup.is_open)
            and is_worth_sending_again(after, now=self.now())
            and self._may_trade(after)
        ):
            return await self._send(replace(after, empty_lookups=0), is_first_post=False)
        return await self._save_and_report(
            order, self._alert_if_needed(after, lookup), fetched.reports, changed=changed
        )

    async def _fetch_lookup(self, order: Order) -> VenueLookup | None:
        try:
            return await self.venue.look_up(order)
        except (Transient, InvalidMessage) as error:
            logger.warning(
                "order %s of intent %s could not be looked up at the venue: %s",
                order.order_hash,
                order.intent_id,
                error,
            )
            return None

    async def _apply_reports(
        self, order: Order, reports: Iterable[TradeReported]
    ) -> tuple[tuple[Trade, ...], tuple[Trade, ...]]:
        """All trades of the order after these reports, and those that are changed by them."""
        known = await self.orders.load_trades(order.intent_id)
        changed = apply_reports(known, reports, matched_shares=order.shares)
        return merge_trades(known, changed), changed

    def _settle_open(self, settled: FillsSettled) -> list[Settlement] | None:
        """None: one of the orders is not open here, or not ours, and has to be looked for."""
        fills = sum_fills(settled)
        recorded = [self.orders.find_open(order_hash) for order_hash in fills]
        known = [each for each in recorded if each is not None]
        return self._settle(settled, fills, known) if len(known) == len(recorded) else None

    def _settle(
        self,
        settled: FillsSettled,
        fills: Mapping[str, Sequence[Fill]],
        recorded: Iterable[RecordedOrder],
    ) -> list[Settlement]:
        """``fills``: those of the message, by the hash of the order in lower case."""
        settlements = [
            settle(each, fills[each.order.order_hash.lower()], now=self.now())
            for each in recorded
            if each.order.proxy == settled.proxy
        ]
        for each in settlements:
            if each.contradicts:
                logger.error("%s", describe_contradiction(each))
        return settlements

    def _report_settlements(self, settlements: Iterable[Settlement]) -> list[InTrace]:
        """Each in the trace of its order: fills are read for many at once, in none."""
        return [
            InTrace(
                message=build_order_report(each.after, now=self.now()),
                traceparent=each.after.traceparent,
            )
            for each in settlements
            if each.is_reported
        ]

    async def _check_chain(self, before: Order, ended: Order) -> Order:
        """``ended``, unless the chain has a fill of the order or cannot be asked: then it stays
        unknown.
        """
        try:
            filled_by = await self.chain.fetch_fill(before)
        except Transient as error:
            reason = f"the chain could not be queried for a fill: {error}"
        else:
            if not filled_by:
                return ended
            reason = f"the chain has a fill of it in {filled_by}, the venue lists no trade"
        return replace(
            before, state=OrderState.UNKNOWN, empty_lookups=ended.empty_lookups, reason=reason
        )

    def _alert_if_needed(self, order: Order, lookup: OrderLookup | None) -> Order:
        """Alert the operator, once, with all that is known of the order."""
        if not needs_alert(order, lookup, now=self.now()):
            return order
        why = unresolved_reason(order, lookup)
        logger.error("%s", describe_unresolved(order, why))
        return replace(order, alerted_at=self.now(), reason=order.reason or why)

    async def _save_and_report(
        self,
        before: Order,
        after: Order,
        reports: Iterable[TradeReported],
        *,
        changed: Sequence[Trade] = (),
    ) -> Sequence[Message]:
        """Save what has changed of the order and its trades, and report what others act on."""
        if changed:
            await self.orders.settle(after, changed, now=self.now())
        elif after != before:
            await self.orders.save(after, now=self.now())
        messages: list[Message] = []
        if is_reported(before, after):
            messages.append(build_order_report(after, now=self.now()))
        return messages + [
            build_confirmation_request(trade, now=self.now())
            for trade in reports
            if is_in_block(trade)
        ]
