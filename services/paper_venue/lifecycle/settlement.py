"""How does a match reach the chain, and how does the venue learn what became of it?"""

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
    """The arguments of ``matchOrders``: fills in each order's own maker unit, fees in micro-USDC."""

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
    """1: done; 0: the chain refused, nothing moved."""


_MAX_RECEIPTS_PER_POLL = 16


class Settler(Protocol):
    """The operator's hand on the chain."""

    def sign(self, settlement: Settlement, *, fails: bool = False) -> SignedTransaction:
        """Sign ``matchOrders`` with the next nonce. The hash is final. ``fails``: so that the chain
        will refuse it.
        """
        ...

    async def send(self, transaction: SignedTransaction) -> None:
        """Hand it to the node. Doing so twice changes nothing. Raises: Transient."""
        ...

    async def fetch_receipt(self, transaction_hash: str) -> Receipt | None:
        """None: not mined yet. Raises: Transient."""
        ...


class SettlementListener(Protocol):
    """Who is told what became of a trade."""

    def on_mined(self, trade: Trade, *, block: int, now_ms: int) -> None: ...

    def on_retrying(self, trade: Trade, transaction_hash: str, *, now_ms: int) -> None: ...

    def on_confirmed(self, trade: Trade, *, now_ms: int) -> None: ...

    def on_failed(self, trade: Trade, *, now_ms: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _InjectedFailure:
    """A settlement that a fault has struck: its transaction was signed so that it fails."""

    fault: Fault
    options: FaultOptions
    settlement: Settlement


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementDelays:
    """Seconds. ``before_broadcast`` from the match on, ``before_confirmed`` from the receipt on."""

    before_broadcast: float
    before_confirmed: float
    between_polls: float = 0.05


class SettlementPipeline:
    """Transactions on their way, in the order of their nonces: none can be mined before the one
    ahead of it.
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
        """Sign with the next nonce. What a fault strikes is signed to fail: its hash is told like
        any other's, and nobody can know.
        """
        for fault in (Fault.FAILED, Fault.RETRYING):
            strike = self._faults.trigger(fault, wallet=settlement.taker.maker)
            if strike is not None:
                transaction = self._settler.sign(settlement, fails=True)
                self._injected_failures[transaction.hash] = _InjectedFailure(
                    fault=fault, options=strike, settlement=settlement
                )
                return transaction
        return self._settler.sign(settlement)

    def submit(self, transaction: SignedTransaction, trade: Trade) -> None:
        self._signed.put_nowait((transaction, trade))

    async def run(self, listener: SettlementListener) -> None:
        """Bring every followed transaction to its end; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._broadcast())
            tasks.create_task(self._poll_receipts(listener, tasks))
            tasks.create_task(self._confirm(listener))

    async def _broadcast(self) -> None:
        """Send one after another, so that the node never has to hold one back for the nonce before
        it.
        """
        while True:
            transaction, trade = await self._signed.get()
            await self._until_after(trade.matched_at_ms, self._delays.before_broadcast)
            await self._retry_until_answered(partial(self._settler.send, transaction))
            self._sent.put_nowait((transaction, trade))

    async def _poll_receipts(self, reports: SettlementListener, tasks: asyncio.TaskGroup) -> None:
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
                        self._on_settled(reports, trade, receipt)
                    elif receipt is not None:
                        self._on_reverted(
                            reports,
                            trade,
                            self._injected_failures.pop(transaction.hash, None),
                            tasks,
                        )
                group = [
                    waiting
                    for waiting, receipt in zip(group, receipts, strict=True)
                    if receipt is None
                ]
                if group:
                    await self._sleep(self._delays.between_polls)

    def _on_settled(self, reports: SettlementListener, trade: Trade, receipt: Receipt) -> None:
        now_ms = self._now_ms()
        reports.on_mined(trade, block=receipt.block_number, now_ms=now_ms)
        self._mined.put_nowait((now_ms, trade))

    def _on_reverted(
        self,
        reports: SettlementListener,
        trade: Trade,
        doom: _InjectedFailure | None,
        tasks: asyncio.TaskGroup,
    ) -> None:
        if doom is None:
            reports.on_failed(trade, now_ms=self._now_ms())
        elif doom.fault is Fault.RETRYING:
            # Signed and queued at once: no other signature can come between, so the queue stays in
            # the order of nonces.
            again = self._settler.sign(doom.settlement)
            self.submit(again, trade)
            reports.on_retrying(trade, again.hash, now_ms=self._now_ms())
        else:
            tasks.create_task(self._fail(reports, trade, after_s=float(doom.options.seconds)))

    async def _fail(self, reports: SettlementListener, trade: Trade, *, after_s: float) -> None:
        await self._until_after(trade.matched_at_ms, after_s)
        reports.on_failed(trade, now_ms=self._now_ms())

    async def _confirm(self, reports: SettlementListener) -> None:
        while True:
            mined_at_ms, trade = await self._mined.get()
            await self._until_after(mined_at_ms, self._delays.before_confirmed)
            reports.on_confirmed(trade, now_ms=self._now_ms())

    async def _until_after(self, moment_ms: int, delay_s: float) -> None:
        """By the venue's clock; never longer than the delay itself, where that clock is set back
        meanwhile.
        """
        left_s = min(delay_s, (moment_ms - self._now_ms()) / 1000 + delay_s)
        if left_s > 0:
            await self._sleep(left_s)

    async def _retry_until_answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the node until it answers: a settlement is never given up, as its nonce holds up all
        behind it.
        """
        while True:
            try:
                return await ask()
            except Transient:
                await self._sleep(self._delays.between_polls)


async def _next_group(
    queue: asyncio.Queue[tuple[SignedTransaction, Trade]],
) -> list[tuple[SignedTransaction, Trade]]:
    """The next transaction as soon as there is one, and those that wait behind it already."""
    group = [await queue.get()]
    while len(group) < _MAX_RECEIPTS_PER_POLL and not queue.empty():
        group.append(queue.get_nowait())
    return group
