"""Two common executors that double or lose copies; the matrix must find both."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.executor.decisions import Order, apply_reply, sum_fills
from services.executor.handler import Handler
from shared.messages.base import Message
from shared.messages.intents import IntentApproved
from shared.messages.orders import OrderState, TradeReported
from shared.messages.transactions import FillsSettled
from shared.streams.routes import InTrace, Outcome, Received

UNANSWERED = (OrderState.SIGNED, OrderState.UNKNOWN, OrderState.KILLED)


class OneByOne(Handler):
    """Leaves every message of a batch to its ordinary route, which the wrong orderings replace."""

    async def on_intents_approved(
        self, batch: Sequence[Received[IntentApproved]]
    ) -> Sequence[Outcome]:
        return [None] * len(batch)

    async def on_fills_settled_of_many(
        self, batch: Sequence[Received[FillsSettled]]
    ) -> Sequence[Outcome]:
        return [None] * len(batch)


class PlaceThenRecord(OneByOne):
    """Signs, sends, and records once the reply is there: after a crash in between, the order is
    built and sent anew.
    """

    async def on_intent_approved(self, approved: IntentApproved) -> Sequence[Message]:
        if (known := await self.orders.load(approved.intent_id)) is not None:
            return await self._run_next_step(known)
        # As SDKs do: the current time is signed, so each signing gives another order.
        dated_now = approved.model_copy(update={"occurred_at": self.now()})
        order = await self._sign_or_withdraw(dated_now)
        reply = await self.venue.post_order(order)
        await self.orders.record(order, approved)
        return await self._save_and_report(
            order, apply_reply(order, reply, is_first_post=True, now=self.now()), []
        )


class UnknownIsFailed(OneByOne):
    """Records first, but takes an order without a reply as failed, and ignores its trades."""

    async def on_trade_reported(self, trade: TradeReported) -> Sequence[Message]:
        order = await self.orders.load(trade.intent_id)
        return (
            []
            if order is None or order.state in UNANSWERED
            else await super().on_trade_reported(trade)
        )

    async def on_fills_settled(self, settled: FillsSettled) -> Sequence[InTrace]:
        recorded = await self.orders.load_by_hash(sum_fills(settled))
        if any(each.order.state in UNANSWERED for each in recorded):
            return []
        return await super().on_fills_settled(settled)

    async def _run_next_step(
        self, order: Order, *, is_first_post: bool = False
    ) -> Sequence[Message]:
        if is_first_post or order.state not in UNANSWERED:
            return await super()._run_next_step(order, is_first_post=is_first_post)
        failed = replace(order, state=OrderState.KILLED, reason="no reply came: taken for failed")
        return await self._save_and_report(order, failed, [])


ORDERINGS: Mapping[str, type[Handler]] = {
    "place, then record": PlaceThenRecord,
    "record, then treat unknown as failed": UnknownIsFailed,
}
