"""How would an executor be written that doubles or loses? Two that are common; the matrix must find
both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.executor.decisions import Order, apply_reply
from services.executor.handler import Handler
from shared.messages.base import Message
from shared.messages.intents import IntentApproved
from shared.messages.orders import OrderState, TradeReported

UNANSWERED = (OrderState.SIGNED, OrderState.UNKNOWN, OrderState.KILLED)


class PlaceThenRecord(Handler):
    """Signs and sends, and writes it down when the answer is there: what dies in between is built
    and sent anew.
    """

    async def on_intent_approved(self, approved: IntentApproved) -> Sequence[Message]:
        if (known := await self.orders.load(approved.intent_id)) is not None:
            return await self._run_next_step(known)
        dated_now = approved.model_copy(
            update={"occurred_at": self.now()}
        )  # as SDKs do: each signing gives another order
        order = await self._sign_or_withdraw(dated_now)
        reply = await self.venue.post_order(order)
        await self.orders.record(order, approved)
        return await self._save_and_report(
            order, apply_reply(order, reply, is_first_post=True, now=self.now()), []
        )


class UnknownIsFailed(Handler):
    """Writes it down first, and takes an order without an answer for one that failed: who looks for
    trades of what has failed?
    """

    async def on_trade_reported(self, trade: TradeReported) -> Sequence[Message]:
        order = await self.orders.load(trade.intent_id)
        return (
            []
            if order is None or order.state in UNANSWERED
            else await super().on_trade_reported(trade)
        )

    async def _advance(self, order: Order, *, is_first: bool = False) -> Sequence[Message]:
        if is_first or order.state not in UNANSWERED:
            return await super()._run_next_step(order, is_first_post=is_first)
        failed = replace(order, state=OrderState.KILLED, reason="no answer came: taken for failed")
        return await self._save_and_report(order, failed, [])


ORDERINGS: Mapping[str, type[Handler]] = {
    "place, then record": PlaceThenRecord,
    "record, then treat unknown as failed": UnknownIsFailed,
}
