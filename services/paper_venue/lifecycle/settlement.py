"""Brings matches to the chain, and reports to the venue what became of each settlement."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, Self, TypeVar

from services.paper_venue.exchange.matching import Match
from services.paper_venue.exchange.trades import Trade
from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults
from shared.chain.orders import SignedOrder
from shared.domain.errors import Transient

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The arguments of ``matchOrders``: fills in each order's maker unit, fees in micro-USDC."""

    condition_id: str
    exchange: str
    taker: SignedOrder
    makers: tuple[SignedOrder, ...]
    taker_fill: int
    maker_fills: tuple[int, ...]
    taker_fee: int
    maker_fees: tuple[int, ...]

    @classmethod
    def from_match(cls, match: Match) -> Self:
        return cls(
            condition_id=match.taker.market.condition_id,
            exchange=match.taker.market.exchange,
            taker=match.taker.signed,
            makers=tuple(fill.maker.signed for fill in match.fills),
            taker_fill=match.making_amount,
            maker_fills=tuple(fill.fill_amount for fill in match.fills),
            taker_fee=match.fee,
            maker_fees=tuple(0 for _ in match.fills),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTransaction:
    hash: str
    raw: str
    nonce: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    block_number: int
    status: int
    """1: succeeded; 0: reverted, nothing moved."""


_MAX_RECEIPTS_PER_POLL = 16


class Settler(Protocol):
    """Signs and sends settlement transactions as the exchange's operator."""

    def sign(self, settlement: Settlement, *, fails: bool = False) -> SignedTransaction:
        """Sign ``matchOrders`` with the next nonce. The hash is final. ``fails``: sign it so that
        it will revert.
        """
        ...

    async def send(self, transaction: SignedTransaction) -> None:
        """Send it to the node. Sending it twice changes nothing. Raises: Transient."""
        ...

    async def fetch_receipt(self, transaction_hash: str) -> Receipt | None:
        """None: not mined yet. Raises: Transient."""
        ...


class SettlementListener(Protocol):
    """Receives what became of a trade's settlement."""

    def on_mined(self, trade: Trade, *, block: int, now_ms: int) -> None: ...

    def on_retrying(self, trade: Trade, transaction_hash: str, *, now_ms: int) -> None: ...

    def on_confirmed(self, trade: Trade, *, now_ms: int) -> None: ...

    def on_failed(self, trade: Trade, *, now_ms: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _InjectedFailure:
    """A settlement that a fault made fail: its transaction was signed so that it reverts."""

    fault: Fault
    options: FaultOptions
    settlement: Settlement


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementDelays:
    """Seconds: from the match to the broadcast, from the receipt to CONFIRMED, between polls."""

    before_broadcast: float
    before_confirmed: float
    between_polls: float = 0.05


class SettlementPipeline:
    """Broadcasts, polls and confirms settlement transactions in the order of their nonces: none can
    be mined before the one with the nonce before it.
    """

    def __init__(
        self,
        settler: Settler,
        *,
        delays: SettlementDelays,
        faults: Faults,
        now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settler = settler
        self._delays = delays
        self._faults = faults
        self._injected_failures: dict[str, _InjectedFailure] = {}
        self._now_ms = now_ms
        self._sleep = sleep
        self._signed: asyncio.Queue[tuple[SignedTransaction, Trade]] = asyncio.Queue()
        self._sent: asyncio.Queue[tuple[SignedTransaction, Trade]] = asyncio.Queue()
        self._mined: asyncio.Queue[tuple[int, Trade]] = asyncio.Queue()

    def sign(self, settlement: Settlement) -> SignedTransaction:
        """Sign with the next nonce. If a fault is triggered it is signed so that it reverts; its
        hash is published like any other, so a client cannot tell the difference.
        """
        for fault in (Fault.FAILED, Fault.RETRYING):
            options = self._faults.trigger(fault, wallet=settlement.taker.maker)
            if options is not None:
                transaction = self._settler.sign(settlement, fails=True)
                self._injected_failures[transaction.hash] = _InjectedFailure(
                    fault=fault, options=options, settlement=settlement
                )
                return transaction
        return self._settler.sign(settlement)

    def submit(self, transaction: SignedTransaction, trade: Trade) -> None:
        """Queue a signed transaction for broadcast."""
        self._signed.put_nowait((transaction, trade))

    async def run(self, listener: SettlementListener) -> None:
        """Broadcast, poll and confirm all submitted transactions, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._broadcast())
            tasks.create_task(self._poll_receipts(listener, tasks))
            tasks.create_task(self._confirm(listener))

    async def _broadcast(self) -> None:
        """Send one after another, so that the node never gets a nonce before the one it follows."""
        while True:
            transaction, trade = await self._signed.get()
            await self._until_after(trade.matched_at_ms, self._delays.before_broadcast)
            await self._retry_until_answered(partial(self._settler.send, transaction))
            self._sent.put_nowait((transaction, trade))

    async def _poll_receipts(self, listener: SettlementListener, tasks: asyncio.TaskGroup) -> None:
        while True:
            group = await _next_group(self._sent)
            while group:
                receipts = await asyncio.gather(
                    *(
                        self._retry_until_answered(partial(self._settler.fetch_receipt, tx.hash))
                        for tx, _ in group
                    )
                )
                for (transaction, trade), receipt in zip(group, receipts, strict=True):
                    if receipt is not None and receipt.status == 1:
                        self._on_settled(listener, trade, receipt)
                    elif receipt is not None:
                        self._on_reverted(
                            listener,
                            trade,
                            self._injected_failures.pop(transaction.hash, None),
                            tasks,
                        )
                group = [
                    pending
                    for pending, receipt in zip(group, receipts, strict=True)
                    if receipt is None
                ]
                if group:
                    await self._sleep(self._delays.between_polls)

    def _on_settled(self, listener: SettlementListener, trade: Trade, receipt: Receipt) -> None:
        now_ms = self._now_ms()
        listener.on_mined(trade, block=receipt.block_number, now_ms=now_ms)
        self._mined.put_nowait((now_ms, trade))

    def _on_reverted(
        self,
        listener: SettlementListener,
        trade: Trade,
        failure: _InjectedFailure | None,
        tasks: asyncio.TaskGroup,
    ) -> None:
        if failure is None:
            listener.on_failed(trade, now_ms=self._now_ms())
        elif failure.fault is Fault.RETRYING:
            # Signed and queued without an await in between: no other transaction can be signed
            # meanwhile, so the queue stays in the order of nonces.
            retry = self._settler.sign(failure.settlement)
            self.submit(retry, trade)
            listener.on_retrying(trade, retry.hash, now_ms=self._now_ms())
        else:
            tasks.create_task(self._fail(listener, trade, after_s=float(failure.options.seconds)))

    async def _fail(self, listener: SettlementListener, trade: Trade, *, after_s: float) -> None:
        await self._until_after(trade.matched_at_ms, after_s)
        listener.on_failed(trade, now_ms=self._now_ms())

    async def _confirm(self, listener: SettlementListener) -> None:
        while True:
            mined_at_ms, trade = await self._mined.get()
            await self._until_after(mined_at_ms, self._delays.before_confirmed)
            listener.on_confirmed(trade, now_ms=self._now_ms())

    async def _until_after(self, moment_ms: int, delay_s: float) -> None:
        """Sleep until ``delay_s`` after the moment, by the venue's clock; never longer than the
        delay itself, even if that clock is set back meanwhile.
        """
        remaining_s = min(delay_s, (moment_ms - self._now_ms()) / 1000 + delay_s)
        if remaining_s > 0:
            await self._sleep(remaining_s)

    async def _retry_until_answered(self, request: Callable[[], Awaitable[T]]) -> T:
        """Repeat a request until the node answers: a settlement is never given up, as its nonce
        blocks all later ones.
        """
        while True:
            try:
                return await request()
            except Transient:
                await self._sleep(self._delays.between_polls)


async def _next_group(
    queue: asyncio.Queue[tuple[SignedTransaction, Trade]],
) -> list[tuple[SignedTransaction, Trade]]:
    """Wait for the next transaction; returns it with those already queued behind it."""
    group = [await queue.get()]
    while len(group) < _MAX_RECEIPTS_PER_POLL and not queue.empty():
        group.append(queue.get_nowait())
    return group
