"""Posts orders to the venue and looks them up there."""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from services.executor.adapters.gates import VenueGates
from services.executor.adapters.keyring import Keyring
from services.executor.adapters.open_orders import LeaseHolder
from services.executor.adapters.trade_reads import TradeReads
from services.executor.decisions import Order, VenueLookup
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.money import Side
from shared.messages.orders import OrderOverdue, TradeReported
from shared.observe import metrics, tracing
from shared.polymarket.clob import Clob, EndlessPages, Unauthorized, as_repeat
from shared.polymarket.replies import (
    Accepted,
    Reason,
    Rejected,
    Reply,
    ReplyLost,
    RetryLater,
)
from shared.polymarket.request_budget import Priority
from shared.polymarket.signing import Credentials
from shared.polymarket.trades import VenueTrade, named_orders, parse_trade

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Rows = list[Mapping[str, Any]]

MAX_WAIT_S = 60
"""Longer waits that the venue asks for are cut: by then the order has expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableRow:
    """A row of the venue's trades that could not be read."""

    order_hash: str | None
    """The order of ours that it names; None: it may be about any."""
    reason: str
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletTrades:
    """What the venue shows of some orders of a wallet."""

    reports: tuple[TradeReported, ...]
    unreadable: tuple[UnreadableRow, ...] = ()
    endless: str = ""
    """Why there may be more than was read; empty: this is all."""

    def list_unreadable(self, order: Order) -> list[UnreadableRow]:
        """Those that are about the order, or may be."""
        return [row for row in self.unreadable if row.order_hash in (None, order.order_hash)]

    def problem_with(self, order: Order) -> str:
        """Why this is not all that the venue has of the order; empty: it is. An order that only a
        row names which cannot be read is not an order without trades.
        """
        if unreadable := self.list_unreadable(order):
            return unreadable[0].reason
        has_trades = any(report.order_hash == order.order_hash for report in self.reports)
        return "" if has_trades else self.endless


class ClobVenue:
    """The venue's CLOB API for the orders of our followers."""

    def __init__(
        self,
        clob: Clob,
        keyring: Keyring,
        leases: LeaseHolder,
        gates: VenueGates,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._clob, self._keyring, self._leases, self._now = clob, keyring, leases, now
        self._gates = gates
        self._reads = TradeReads()
        self._waits: dict[str, tuple[datetime, str]] = {}
        """By proxy: until when it posts nothing because the venue asked its signer to wait, and the
        venue's text."""

    def known_reply(self, order: Order, *, may_have_arrived: bool) -> Reply | None:
        return self._gates.known_reply(order, may_have_arrived=may_have_arrived)

    async def post_order(self, order: Order) -> Reply:
        """Post the recorded bytes; again where the venue's view of the wallet's key or balance was
        what refused them.

        Raises: NotLeaseHolder. The lease is checked right before the first byte is sent: the
        database cannot refuse what the venue has accepted.
        """
        if (wait := self._waits.get(order.proxy)) is not None:
            until, text = wait
            if self._now() < until:
                return RetryLater(text)
            del self._waits[order.proxy]
        reply = await self._post_and_renew(order)
        if _is_refused_for(reply, Reason.BALANCE_TOO_LOW) and await self._refresh_balance(order):
            reply = await self._post_again(order, reply)
        if isinstance(reply, RetryLater) and reply.retry_after_s:
            self._waits[order.proxy] = (
                self._now() + timedelta(seconds=min(reply.retry_after_s, MAX_WAIT_S)),
                reply.text,
            )
        return reply

    async def _post_and_renew(self, order: Order) -> Reply:
        """Post; once more with the wallet's new API key where its key was revoked or replaced."""
        credentials = await self._keyring.fetch_credentials(order.proxy)
        reply = await self._post(order, credentials)
        if _is_refused_for(reply, Reason.UNAUTHORIZED) and await self._keyring.renew_credentials(
            order.proxy, refused=credentials
        ):
            return await self._post_again(order, reply)
        return reply

    async def _post_again(self, order: Order, refused: Reply) -> Reply:
        """The reply to the same bytes, sent once more. ``refused``, where they have expired."""
        if self._now() >= order.expires_at:
            return refused
        credentials = await self._keyring.fetch_credentials(order.proxy)
        return as_repeat(await self._post(order, credentials))

    async def _post(self, order: Order, credentials: Credentials) -> Reply:
        self._leases.lease_for(order.proxy)
        posted_at = self._now()
        with tracing.start_client_span(
            "POST /order", **{"slipstream.order_hash": order.order_hash}
        ):
            reply = await self._clob.post_order(set_owner(order.body, credentials.key), credentials)
        reply = _require_own(order, reply)
        metrics.order_posted(reply)
        self._gates.learn(order, reply, posted_at=posted_at)
        return reply

    async def _refresh_balance(self, order: Order) -> bool:
        """Have the venue read again what the order gives: its view of a balance is cached. False:
        it could not be asked to.
        """
        try:
            await self._clob.refresh_balance(
                await self._keyring.fetch_credentials(order.proxy),
                token_id=order.token_id if order.side is Side.SELL else None,
                signature_type=self._keyring.wallet(order.proxy).signature_type,
            )
        except (Transient, InvalidMessage) as error:
            logger.warning(
                "the venue's view of the balance of proxy %s could not be refreshed: %s",
                order.proxy,
                error,
            )
            return False
        return True

    async def look_up(self, order: Order) -> VenueLookup:
        """Raises: Transient; InvalidMessage where the order may have trades that cannot be read."""
        found = await self.fetch_trades(order.proxy, [order])
        if problem := found.problem_with(order):
            raise InvalidMessage(problem)
        is_open = not found.reports and await self._read(
            order.proxy,
            lambda credentials: self._clob.is_order_open(credentials, order.order_hash),
        )
        return VenueLookup(reports=found.reports, is_open=is_open)

    async def fetch_trades(
        self, proxy: str, orders: Sequence[Order], *, priority: Priority = Priority.LOOKUP
    ) -> WalletTrades:
        """The venue's trades of these orders of one proxy: those that it has shown before, and
        those that are new or have changed. Raises: Transient, InvalidMessage.
        """
        began_at = self._now()
        rows, endless = await self._read_rows(
            proxy, priority, partial(self._clob.fetch_trades, since=self._reads.read_from(orders))
        )
        by_hash = {order.order_hash.lower(): order for order in orders}
        found = _parse_rows(rows, by_hash, now=began_at, endless=endless)
        if changing := self._reads.list_changing(orders, shown=found.reports):
            for trade in changing:
                rows += await self._read_trade(proxy, trade.trade_id, priority)
            found = _parse_rows(rows, by_hash, now=began_at, endless=endless)
        for order in orders:
            is_all = not (endless or found.list_unreadable(order))
            self._reads.remember(order, found.reports, read_until=began_at if is_all else None)
        return replace(found, reports=self._reads.list_trades(orders))

    async def _read_trade(
        self, proxy: str, trade_id: str, priority: Priority
    ) -> list[Mapping[str, Any]]:
        """The row of a trade that can still change; none where the venue does not show it now: then
        what is known of it stands.
        """
        try:
            fetch = partial(self._clob.fetch_trade, trade_id=trade_id)
            rows, _ = await self._read_rows(proxy, priority, fetch)
        except Transient as error:
            logger.warning("trade %s of proxy %s could not be read: %s", trade_id, proxy, error)
            return []
        return rows

    async def _read_rows(
        self, proxy: str, priority: Priority, fetch: Callable[..., Awaitable[Rows]]
    ) -> tuple[Rows, str]:
        """The rows, and why there may be more; empty: they are all. Raises: Transient,
        InvalidMessage.
        """
        try:
            rows = await self._read(
                proxy,
                lambda credentials: fetch(credentials, maker_address=proxy, priority=priority),
                priority,
            )
        except EndlessPages as error:
            return error.rows, str(error)
        return rows, ""

    async def _read(
        self,
        proxy: str,
        read: Callable[[Credentials], Awaitable[Result]],
        priority: Priority = Priority.LOOKUP,
    ) -> Result:
        """Read with the wallet's API key, and once more with its new one where it was revoked or
        replaced. Raises: Transient, InvalidMessage.
        """
        credentials = await self._keyring.fetch_credentials(proxy, priority=priority)
        try:
            return await read(credentials)
        except Unauthorized:
            renewed = await self._keyring.renew_credentials(proxy, refused=credentials)
            if renewed is None:
                raise
            return await read(renewed)


def set_owner(body: str, api_key: str) -> str:
    """The body of an order with this API key in its envelope, and all other bytes as recorded: the
    signature and the order's hash do not cover the ``owner``, and the venue takes an order from the
    key that it names alone.
    """
    current = f'"owner":{json.dumps(api_key)}'
    if current in body:
        return body
    recorded = json.loads(body).get("owner")
    return body if recorded is None else body.replace(f'"owner":{json.dumps(recorded)}', current)


def _require_own(order: Order, reply: Reply) -> Reply:
    """The reply; lost, where it accepts another order than this one: nothing is known of this one
    then, and its lookup tells.
    """
    if not isinstance(reply, Accepted) or reply.order_id.lower() == order.order_hash.lower():
        return reply
    logger.error(
        "order %s was answered by the venue's acceptance of order %s, and is looked up",
        order.order_hash,
        reply.order_id,
    )
    return ReplyLost(f"accepted as another order: {reply.order_id}")


def _is_refused_for(reply: Reply, reason: Reason) -> bool:
    return isinstance(reply, Rejected) and reply.reason is reason


def _parse_rows(
    rows: Rows, by_hash: Mapping[str, Order], *, now: datetime, endless: str
) -> WalletTrades:
    parsed = [_parse_row(row, by_hash, now=now) for row in rows]
    return WalletTrades(
        reports=tuple(each for each in parsed if isinstance(each, TradeReported)),
        unreadable=tuple(each for each in parsed if isinstance(each, UnreadableRow)),
        endless=endless,
    )


def _parse_row(
    row: Mapping[str, Any], by_hash: Mapping[str, Order], *, now: datetime
) -> TradeReported | UnreadableRow | None:
    """The row as a trade of one of these orders; None: it names none of them."""
    taker = row.get("taker_order_id")
    if not isinstance(taker, str) or not taker:
        return UnreadableRow(order_hash=None, reason="it names no taker's order", row=row)
    order = by_hash.get(taker.lower())
    if order is not None:
        try:
            trade = parse_trade(row, fee_rate=order.fee_rate)
        except InvalidMessage as error:
            return UnreadableRow(order_hash=order.order_hash, reason=str(error), row=row)
        return build_trade_report(order, trade, now=now)
    made = next((by_hash[name] for name in named_orders(row) if name in by_hash), None)
    if made is None:
        return None
    reason = "it names our order as a maker's, and ours only take"
    return UnreadableRow(order_hash=made.order_hash, reason=reason, row=row)


def build_trade_report(order: Order, trade: VenueTrade, *, now: datetime) -> TradeReported:
    return TradeReported(
        message_id=f"{order.order_hash}:{trade.trade_id}:{trade.status}:{trade.transaction_hash}",
        occurred_at=now,
        proxy=order.proxy,
        intent_id=order.intent_id,
        order_hash=order.order_hash,
        trade_id=trade.trade_id,
        status=trade.status,
        side=order.side,
        token_id=order.token_id,
        shares=trade.shares,
        price=trade.price,
        usdc=trade.usdc,
        fee_usdc=trade.fee_usdc,
        transaction_hash=trade.transaction_hash,
        matched_at=trade.matched_at,
    )


def build_overdue(order: Order, *, now: datetime) -> OrderOverdue:
    return OrderOverdue(
        message_id=f"{order.intent_id}:overdue:{int(now.timestamp())}",
        occurred_at=now,
        proxy=order.proxy,
        intent_id=order.intent_id,
        order_hash=order.order_hash,
    )
