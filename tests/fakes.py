"""Fakes of the services' ports; tests/contract holds those of the stores equal to PostgreSQL."""

import asyncio
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from services.debt_recovery.decisions import Debt
from services.executor.decisions import NewOrder, Order, RecordedOrder, Settlement, apply_save
from services.executor.decisions import Trade as OrderTrade
from services.ingest.decisions import (
    RESENT_WITHIN,
    Complement,
    CopySize,
    CopySlice,
    FillRow,
    OtherTrade,
    Reconciliation,
    RecordedSizes,
    RowKey,
    Trade,
    TradeContext,
    row_key,
)
from services.preflight.decisions import (
    Commitments,
    DelayedEntry,
    Exit,
    ExitState,
    FollowPosition,
    Limits,
    OtherEntries,
    Verdict,
    reserved_usdc,
)
from services.preflight.handler import CommitmentsQuery, Recording
from services.tx_monitor.adapters.transfer_store import ClosedBefore, NotBegun, WalletRecords
from services.tx_monitor.decisions.transfers import CLOSED_STATES, OPEN_STATES, Attempt, Transfer
from services.tx_monitor.decisions.watches import Watch
from shared.db.leases import Lease, NotLeaseHolder
from shared.domain.errors import Transient
from shared.domain.follows import GLOBAL, Controls
from shared.domain.money import Side
from shared.domain.outcomes import OutcomeToken
from shared.domain.terms import EquityRange
from shared.messages.base import Message
from shared.messages.intents import Intent, IntentApproved, IntentRefused, Missing
from shared.messages.leader_fills import LeaderFillSeen
from shared.messages.orders import FINAL_STATES, OrderReported
from shared.messages.refusals import Refusal
from shared.messages.transactions import TransactionResolved, TransactionState
from shared.messages.transfers import TransferState

Count = TypeVar("Count")


class Killed(BaseException):
    """The process was killed at this point."""


class Clock:
    """A clock that shows a fixed time, which a test changes."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class VirtualTime:
    """A clock that moves on by being slept on."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)


class AlwaysReady:
    """Anything new may be begun for every proxy."""

    def require_ready(self, proxy: str) -> None: ...


class FixedControls:
    """Controls that a test sets; None: the controls are not confirmed."""

    def __init__(self, controls: Controls | None) -> None:
        self.controls = controls
        self.earlier: dict[int, Controls] = {}

    def current(self) -> Controls:
        if self.controls is None:
            raise Transient("the controls are not confirmed")
        return self.controls

    def known(self) -> Controls:
        return self.current()

    async def as_of(self, version: int) -> Controls:
        current = self.current()
        return current if version == current.version else self.earlier[version]


class FakeTrades:
    """Ingest's store of leaders' trades, in memory."""

    def __init__(self) -> None:
        self.rows_by_trade: dict[str, dict[RowKey, FillRow]] = {}
        self.slices_by_trade: dict[str, tuple[CopySlice, ...]] = {}
        self.sizes: list[CopySize] = []
        self._ids_by_line: dict[tuple[str, str, Side], set[str]] = {}
        """The ids of the trades of each leader, token and side."""
        self._fills_by_trade: dict[str, list[LeaderFillSeen]] = {}

    async def load(self, fill: LeaderFillSeen) -> TradeContext:
        trades = {each: self._load_trade(each) for each in self._ids_beside(fill) | {fill.trade_id}}
        return TradeContext(
            trade=trades.pop(fill.trade_id),
            neighbours=tuple(trades.values()),
            resent_slices=tuple(
                each
                for slices in self.slices_by_trade.values()
                for each in slices
                if each.resent_of in {fill.trade_id, *trades}
            ),
        )

    async def load_sizes(
        self, fill: LeaderFillSeen, follow_ids: AbstractSet[str], *, of_others: AbstractSet[str]
    ) -> RecordedSizes:
        of_token = [
            size
            for size in self.sizes
            if size.token_id == fill.token_id and size.follow_id in follow_ids
        ]
        return RecordedSizes(
            by_slice={
                (size.sequence, size.follow_id): size
                for size in self.sizes
                if size.trade_id == fill.trade_id
            },
            latest_by_follow={
                size.follow_id: size for size in sorted(of_token, key=lambda size: size.number)
            },
            of_others=frozenset(size for size in self.sizes if size.trade_id in of_others),
        )

    async def record(
        self,
        fill: LeaderFillSeen,
        reconciliation: Reconciliation,
        sizes: Sequence[CopySize] = (),
    ) -> None:
        self._require_slices(fill, reconciliation)
        self._require_sizes(sizes)
        stored = self.slices_by_trade.get(fill.trade_id, ())
        new = [each for each in reconciliation.slices if each not in stored]
        self._ids_beside(fill).add(fill.trade_id)
        self._fills_by_trade.setdefault(fill.trade_id, []).append(fill)
        self.rows_by_trade.setdefault(fill.trade_id, {}).setdefault(
            row_key(fill), reconciliation.row
        )
        self.slices_by_trade[fill.trade_id] = (*stored, *new)
        self.sizes += [size for size in sizes if size not in self.sizes]

    def _require_slices(self, fill: LeaderFillSeen, reconciliation: Reconciliation) -> None:
        stored = self.slices_by_trade.get(fill.trade_id, ())
        sequences = {each.sequence for each in stored}
        ranges = {(each.from_shares, each.resent_of) for each in stored}
        if any(
            each.sequence in sequences or (each.from_shares, each.resent_of) in ranges
            for each in reconciliation.slices
            if each not in stored
        ):
            raise Transient("another slice of the trade was recorded first")

    def _require_sizes(self, sizes: Iterable[CopySize]) -> None:
        keys = {
            key
            for size in self.sizes
            for key in (
                (size.trade_id, size.sequence, size.follow_id),
                (size.follow_id, size.token_id, size.number),
            )
        }
        if any(
            (size.trade_id, size.sequence, size.follow_id) in keys
            or (size.follow_id, size.token_id, size.number) in keys
            for size in sizes
            if size not in self.sizes
        ):
            raise Transient("another size of the follow was recorded first")

    async def load_others(self, fill: LeaderFillSeen) -> Sequence[OtherTrade]:
        others = []
        for side in Side:
            beside = self._ids_beside(fill.model_copy(update={"side": side})) - {fill.trade_id}
            others += [other for each in beside if (other := self._load_other(each, fill))]
        return others

    def _load_other(self, trade_id: str, fill: LeaderFillSeen) -> OtherTrade | None:
        trade, fills = self._load_trade(trade_id), self._fills_by_trade[trade_id]
        rows = trade.socket_rows or trade.rows
        matched_at = min(row.filled_at for row in rows.values())
        resent = sum(
            each.shares
            for slices in self.slices_by_trade.values()
            for each in slices
            if each.resent_of == trade_id
        )
        shares = (
            trade.copied_shares - resent
            if trade.confirmed_at is None
            else max((each.to_shares for each in trade.slices), default=0)
        )
        if shares <= 0 or abs(matched_at - fill.filled_at) > RESENT_WITHIN:
            return None
        return OtherTrade(
            trade_id=trade_id,
            transaction_hash=fills[0].transaction_hash,
            side=fills[0].side,
            shares=shares,
            matched_at=matched_at,
            first_seen_at=min(each.occurred_at for each in fills),
            confirmed_at=trade.confirmed_at,
        )

    def _load_trade(self, trade_id: str) -> Trade:
        return Trade(
            trade_id=trade_id,
            rows=dict(self.rows_by_trade.get(trade_id, {})),
            slices=self.slices_by_trade.get(trade_id, ()),
        )

    def _ids_beside(self, fill: LeaderFillSeen) -> set[str]:
        """The ids of the trades of the same leader, token and side."""
        return self._ids_by_line.setdefault((fill.leader, fill.token_id, fill.side), set())


class FakeComplements:
    """The complements that a test sets; of other tokens the venue does not say any."""

    def __init__(self, known: Mapping[str, OutcomeToken] | None = None) -> None:
        self.known = dict(known or {})
        self.requests: list[str] = []
        """Those that the venue was asked for."""

    async def find_complement(self, token_id: str) -> Complement:
        self.requests.append(token_id)
        return await self.load_complement(token_id)

    async def load_complement(self, token_id: str) -> Complement:
        return self.known.get(token_id, Missing.UNAVAILABLE)


class FakeHoldings:
    """What a leader holds before any trade that is recorded is settled."""

    def __init__(self, shares: int = 10**15) -> None:
        """``shares``: micro-shares on the chain."""
        self.shares = shares
        self.requests: list[LeaderFillSeen] = []

    async def fetch_held_before(self, fill: LeaderFillSeen, earlier: Sequence[OtherTrade]) -> int:
        self.requests.append(fill)
        return self.shares + sum(other.change for other in earlier)


class FakeEquities:
    """What wallets were worth, by when it was read."""

    def __init__(self, *, max_age: timedelta = timedelta(minutes=10)) -> None:
        self.max_age = max_age
        self.readings: list[tuple[str, datetime, int]] = []

    async def load(self, wallets: AbstractSet[str], at: datetime) -> Mapping[str, EquityRange]:
        readings: dict[str, list[int]] = {}
        for wallet, read_at, usdc in self.readings:
            if wallet in wallets and at - self.max_age <= read_at <= at:
                readings.setdefault(wallet, []).append(usdc)
        return {
            wallet: EquityRange(lowest_usdc=min(known), highest_usdc=max(known))
            for wallet, known in readings.items()
            if len(known) > 1
        }

    async def record(self, readings: Sequence[tuple[str, datetime, int]]) -> None:
        self.readings += readings


@dataclass(slots=True)
class _Reservation:
    verdict: Verdict
    usdc: int = 0
    shares: int = 0
    cap_usdc: int = 0
    cap_scopes: frozenset[str] = frozenset()
    settled_at: datetime | None = None
    filled_shares: int = 0

    @property
    def hour(self) -> datetime:
        return _hour(self.verdict.occurred_at)

    @property
    def side(self) -> Side:
        return self.verdict.intent.side


class FakeVerdicts:
    """Preflight's store of verdicts, reservations, positions and exits."""

    def __init__(self) -> None:
        self._reservations: dict[str, _Reservation] = {}
        self.exits: dict[str, Exit] = {}
        self._exit_by_intent: dict[str, str] = {}
        self.delayed: dict[str, DelayedEntry] = {}
        """In the order in which they were delayed first."""

    async def load_commitments(
        self, intent: Intent, *, limits: Limits, since: datetime, now: datetime
    ) -> Commitments:
        buys = intent.side is Side.BUY
        of_proxy = self._load_reservations(intent.proxy)

        def spent_if(cap: int | None, scope: str) -> int | None:
            return None if cap is None or not buys else self._spent(scope, now)

        def count_if(limit: int | None, count: Count) -> Count | None:
            return None if limit is None or not buys else count

        return Commitments(
            usdc=sum(
                each.usdc for each in of_proxy if each.settled_at is None or each.settled_at > since
            ),
            spent_today=self._spent(intent.follow_id, now),
            follower_spent_today=self._spent(intent.proxy, now),
            market_spent_today=spent_if(limits.max_market_daily_usdc, intent.token_id),
            global_spent_today=spent_if(limits.max_global_daily_usdc, GLOBAL),
            open_tokens=count_if(limits.max_open_positions, _open_tokens(of_proxy)),
            recent_entries=count_if(
                limits.max_entries_per_minute,
                _count_recent(of_proxy, now) + len(self._delayed_before(intent, now)),
            ),
        )

    async def load_all_commitments(
        self, queries: Sequence[CommitmentsQuery]
    ) -> Sequence[Commitments]:
        return [
            await self.load_commitments(
                each.intent, limits=each.limits, since=each.since, now=each.now
            )
            for each in queries
        ]

    def _spent(self, scope: str, moment: datetime) -> int:
        """Since 24 full hours before the moment's hour, and later."""
        since = _hour(moment) - timedelta(hours=24)
        return sum(
            each.cap_usdc
            for each in self._reservations.values()
            if scope in each.cap_scopes and each.hour >= since
        )

    async def load_position(self, intent: Intent) -> FollowPosition:
        exit_ = self.exits.get(intent.continues or intent.intent_id)
        of_token = [
            each
            for each in self._reservations.values()
            if (each.verdict.intent.proxy, each.verdict.intent.token_id)
            == (intent.proxy, intent.token_id)
        ]
        of_follow = [each for each in of_token if _is_same_position(each.verdict.intent, intent)]
        open_ = [
            each
            for each in of_follow
            if each.settled_at is None and each.verdict.intent_id != intent.intent_id
        ]
        others = [
            each
            for each in self.exits.values()
            if each is not exit_ and _is_same_position(each.intent, intent)
        ]
        awaited = exit_.awaited_entries if exit_ is not None else ()
        return FollowPosition(
            held_shares=_held(of_follow),
            held_by_all_follows=_held(of_token),
            reserved_shares=sum(each.shares for each in open_ if each.side is Side.SELL),
            open_entries=tuple(each.verdict.intent_id for each in open_ if each.side is Side.BUY),
            delayed_entries=tuple(
                each.intent
                for each in self.delayed.values()
                if _is_same_position(each.intent, intent)
                and each.intent.intent_id not in self._reservations
            ),
            open_exits=tuple(each for each in others if each.state is ExitState.OPEN),
            exit=exit_,
            bought_by_entry={each: self._bought(each) for each in awaited},
            size_by_exit={each.exit_id: _known_size(each) for each in others},
        )

    async def load_positions(self, intents: Sequence[Intent]) -> Sequence[FollowPosition]:
        return [await self.load_position(intent) for intent in intents]

    def _bought(self, intent_id: str) -> int | None:
        entry = self._reservations[intent_id]
        return None if entry.settled_at is None else entry.filled_shares

    async def load_other_entries(self, intent: Intent, *, now: datetime) -> OtherEntries:
        approved = [
            each.verdict.occurred_at
            for each in self._load_reservations(intent.proxy)
            if each.verdict.intent_id != intent.intent_id and _count_recent([each], now)
        ]
        ahead = self._delayed_before(intent, now)
        return OtherEntries(approved_at=approved, waiting_until=[each.due_at for each in ahead])

    def _delayed_before(self, intent: Intent, now: datetime) -> list[DelayedEntry]:
        known = list(self.delayed)
        own = known.index(intent.intent_id) if intent.intent_id in self.delayed else len(known)
        return [
            each
            for each in list(self.delayed.values())[:own]
            if each.intent.proxy == intent.proxy and each.expires_at > now
        ]

    async def delay(self, entry: DelayedEntry) -> Verdict | None:
        intent_id = entry.intent.intent_id
        if (known := self._reservations.get(intent_id)) is not None:
            self.delayed.pop(intent_id, None)
            return known.verdict
        self.delayed[intent_id] = entry
        return None

    async def delay_all(self, entries: Sequence[DelayedEntry]) -> Sequence[Verdict | None]:
        return [await self.delay(each) for each in entries]

    async def record(
        self, verdict: Verdict, exit_: Exit | None = None, *, let_go: Sequence[IntentRefused] = ()
    ) -> Verdict:
        for each in let_go:
            self._let_go(each)
        if (known := self._reservations.get(verdict.intent_id)) is not None:
            self.delayed.pop(verdict.intent_id, None)
            return known.verdict
        if isinstance(verdict, IntentApproved):
            caps = _caps(verdict)
            self._require_caps(verdict, caps)
            if verdict.intent.side is Side.BUY:
                self._require_room(verdict)
            self._reservations[verdict.intent_id] = _Reservation(
                verdict,
                usdc=reserved_usdc(verdict),
                shares=verdict.shares,
                cap_usdc=verdict.usdc,
                cap_scopes=frozenset(caps),
            )
        else:
            self._reservations[verdict.intent_id] = _Reservation(
                verdict, settled_at=verdict.occurred_at
            )
        if exit_ is not None:
            self.exits[exit_.exit_id] = exit_
            self._exit_by_intent[verdict.intent_id] = exit_.exit_id
        self.delayed.pop(verdict.intent_id, None)
        return verdict

    async def record_all(self, recordings: Sequence[Recording]) -> Sequence[Verdict]:
        before = [
            (store, copy(store))
            for store in (self._reservations, self.exits, self._exit_by_intent, self.delayed)
        ]
        try:
            return [
                await self.record(each.verdict, each.traced_exit, let_go=each.let_go)
                for each in recordings
            ]
        except Transient:
            for store, kept in before:
                store.clear()
                store.update(kept)  # type: ignore[arg-type]
            raise

    def _let_go(self, refused: IntentRefused) -> None:
        intent_id, now = refused.intent_id, refused.occurred_at
        known = self._reservations.setdefault(intent_id, _Reservation(refused, settled_at=now))
        if isinstance(known.verdict, IntentApproved):
            raise Transient("an entry to let go was approved meanwhile")
        if (delayed := self.delayed.get(intent_id)) is not None:
            self.delayed[intent_id] = replace(
                delayed,
                due_at=min(delayed.due_at, now),
                expires_at=min(delayed.expires_at, now),
            )

    def _require_caps(self, verdict: IntentApproved, caps: Mapping[str, int | None]) -> None:
        for scope, cap in caps.items():
            spent = self._spent(scope, verdict.occurred_at)
            if cap is not None and spent + verdict.usdc > cap:
                raise Transient("a daily cap is exceeded")

    def _require_room(self, entry: IntentApproved) -> None:
        """Raises: Transient where another entry used up the positions or the rate meanwhile."""
        of_proxy = self._load_reservations(entry.intent.proxy)
        tokens, token_id = _open_tokens(of_proxy), entry.intent.token_id
        positions, rate = entry.facts.max_open_positions, entry.facts.max_entries_per_minute
        if positions is not None and token_id not in tokens and len(tokens) >= positions:
            raise Transient("too many open positions")
        if rate is not None and _count_recent(of_proxy, entry.occurred_at) >= rate:
            raise Transient("too many entries per minute")

    def _load_reservations(self, proxy: str) -> list[_Reservation]:
        return [each for each in self._reservations.values() if each.verdict.intent.proxy == proxy]

    async def load_exit(self, intent_id: str) -> Exit | None:
        exit_id = self._exit_by_intent.get(intent_id)
        return None if exit_id is None else self.exits[exit_id]

    async def settle(
        self, report: OrderReported, exit_: Exit | None = None, *, now: datetime
    ) -> None:
        reservation = self._reservations.get(report.intent_id)
        if reservation is None or reservation.settled_at is not None:
            return
        reservation.usdc = report.usdc + report.fee_usdc if reservation.usdc else 0
        reservation.shares = report.shares if reservation.shares else 0
        reservation.cap_usdc = report.usdc if reservation.cap_usdc else 0
        reservation.settled_at = now
        reservation.filled_shares = report.shares
        if exit_ is not None:
            self.exits[exit_.exit_id] = exit_
        if reservation.side is Side.BUY:
            self._wake_exits(reservation.verdict.intent, now)

    def _wake_exits(self, entry: Intent, now: datetime) -> None:
        """The exits of this follow and token whose entries are all settled are due at once."""
        for each in list(self.exits.values()):
            if (
                _is_same_position(each.intent, entry)
                and each.state is ExitState.OPEN
                and each.shares is None
                and each.next_attempt_at is not None
                and all(self._bought(entry_id) is not None for entry_id in each.awaited_entries)
            ):
                due_at = min(each.next_attempt_at, now)
                self.exits[each.exit_id] = replace(each, next_attempt_at=due_at)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _caps(verdict: IntentApproved) -> dict[str, int | None]:
    """What an entry counts against, with the caps: that of a token and of all only where one is
    set.
    """
    if verdict.intent.side is Side.SELL:
        return {}
    intent, facts = verdict.intent, verdict.facts
    caps = {
        intent.follow_id: facts.daily_cap_usdc,
        intent.proxy: facts.follower_daily_cap_usdc,
    }
    if facts.market_daily_cap_usdc is not None:
        caps[intent.token_id] = facts.market_daily_cap_usdc
    if facts.global_daily_cap_usdc is not None:
        caps[GLOBAL] = facts.global_daily_cap_usdc
    return caps


def _open_tokens(of_proxy: Iterable[_Reservation]) -> frozenset[str]:
    """Tokens of which some follow holds a tenth of a share, and those that are being bought."""
    copies: dict[tuple[str, str], list[_Reservation]] = {}
    for each in of_proxy:
        intent = each.verdict.intent
        copies.setdefault((intent.token_id, intent.follow_id), []).append(each)
    return frozenset(
        token_id
        for (token_id, _), of_follow in copies.items()
        if (_held(of_follow) >= 100_000 and not _has_ended(of_follow))
        or any(each.settled_at is None and each.side is Side.BUY for each in of_follow)
    )


def _has_ended(of_position: Iterable[_Reservation]) -> bool:
    """Whether the newest copy found no market; later attempts of exits do not count."""
    first = [each.verdict for each in of_position if not each.verdict.intent.continues]
    newest = max(first, key=lambda each: each.occurred_at)
    return isinstance(newest, IntentRefused) and newest.reason is Refusal.NO_MARKET


def _count_recent(of_proxy: Iterable[_Reservation], now: datetime) -> int:
    """The approved entries of the last minute."""
    return sum(
        each.side is Side.BUY
        and isinstance(each.verdict, IntentApproved)
        and each.verdict.occurred_at > now - timedelta(minutes=1)
        for each in of_proxy
    )


def _is_same_position(one: Intent, other: Intent) -> bool:
    return (one.follow_id, one.token_id) == (other.follow_id, other.token_id)


def _held(copies: Iterable[_Reservation]) -> int:
    """What settled copies bought and did not sell."""
    return sum(
        each.filled_shares if each.side is Side.BUY else -each.filled_shares for each in copies
    )


def _known_size(exit_: Exit) -> int | None:
    if exit_.shares is None and exit_.state is not ExitState.OPEN:
        return 0
    return exit_.shares


@dataclass(slots=True)
class FakeOrders:
    """The executor's records of orders and trades."""

    orders: dict[str, Order] = field(default_factory=dict)
    trades: dict[tuple[str, str], OrderTrade] = field(default_factory=dict)
    late: dict[str, Order] = field(default_factory=dict)
    """By intent: what is to be saved later. It is lost where the process dies."""

    async def record(self, order: Order, approved: IntentApproved) -> Order:
        assert order.intent_id == approved.intent_id
        first = self.orders.setdefault(order.intent_id, order)
        return self.late.get(order.intent_id, first)

    async def record_all(self, new: Sequence[NewOrder]) -> list[Order | None]:
        return [await self.record(each.order, each.approved) for each in new]

    async def load(self, intent_id: str) -> Order | None:
        return self.late.get(intent_id) or self.orders.get(intent_id)

    async def save(self, order: Order, *, now: datetime) -> None:
        self.orders[order.intent_id] = apply_save(self.orders[order.intent_id], order)
        self.late.pop(order.intent_id, None)

    async def save_later(self, order: Order, *, now: datetime) -> None:
        self.late[order.intent_id] = apply_save(self.orders[order.intent_id], order)

    async def settle(self, order: Order, trades: Iterable[OrderTrade], *, now: datetime) -> None:
        await self.save(order, now=now)
        self.trades |= {(order.intent_id, trade.trade_id): trade for trade in trades}

    async def settle_all(self, settlements: Sequence[Settlement], *, now: datetime) -> list[bool]:
        for each in settlements:
            await self.settle(each.after, each.trades, now=now)
        return [True] * len(settlements)

    async def load_trades(self, intent_id: str) -> tuple[OrderTrade, ...]:
        return tuple(trade for (of, _), trade in sorted(self.trades.items()) if of == intent_id)

    async def load_by_hash(self, order_hashes: Collection[str]) -> list[RecordedOrder]:
        return [
            RecordedOrder(
                order=self.late.get(order.intent_id, order),
                trades=await self.load_trades(order.intent_id),
            )
            for order in self.orders.values()
            if order.order_hash.lower() in order_hashes
        ]

    def find_open(self, order_hash: str) -> RecordedOrder | None:
        for order in (*self.late.values(), *self.orders.values()):
            if order.order_hash.lower() == order_hash and order.state not in FINAL_STATES:
                trades = (t for (of, _), t in self.trades.items() if of == order.intent_id)
                return RecordedOrder(order=order, trades=tuple(trades))
        return None

    async def record_settlement(self, result: TransactionResolved, *, now: datetime) -> None:
        for key, trade in self.trades.items():
            if key[0] != result.intent_id or trade.transaction_hash != result.transaction_hash:
                continue
            order_hash = self.orders[result.intent_id].order_hash
            fills = [fill for fill in result.fills if fill.order_hash == order_hash]
            same = [
                other
                for (intent_id, _), other in self.trades.items()
                if (intent_id, other.transaction_hash) == (key[0], trade.transaction_hash)
            ]
            settled = replace(trade, chain_state=result.state.value)
            if fills and len(same) == 1:
                settled = replace(
                    settled,
                    shares=sum(fill.shares for fill in fills),
                    usdc=sum(fill.usdc for fill in fills),
                    fee_usdc=sum(fill.fee_usdc for fill in fills),
                )
            self.trades[key] = settled


class FakeWatches:
    """Tx-monitor's store of watches."""

    def __init__(self) -> None:
        self._watches: dict[str, Watch] = {}

    async def record(self, watch: Watch, *, now: datetime) -> Watch:
        return self._watches.setdefault(watch.request_id, replace(watch, changed_at=now))

    async def load(self, request_id: str) -> Watch | None:
        return self._watches.get(request_id)

    async def save(self, watch: Watch, *, now: datetime) -> None:
        known = self._watches[watch.request_id]
        if known.state in (TransactionState.FINAL, TransactionState.FINAL_REVERTED):
            return
        changed = replace(
            known,
            state=watch.state,
            block_number=watch.block_number,
            block_hash=watch.block_hash,
            fills=watch.fills,
        )
        self._watches[watch.request_id] = (
            known if changed == known else replace(changed, changed_at=now)
        )


@dataclass(slots=True)
class FakeTransfers:
    """Tx-monitor's records of transfers."""

    newest_tokens: dict[int, int] = field(default_factory=dict)
    """By partition; where there is none, every lease is the newest."""
    transfers: dict[str, Transfer] = field(default_factory=dict)
    """In the order in which they were requested."""
    requested_at: dict[str, datetime] = field(default_factory=dict)
    next_nonces: dict[str, int] = field(default_factory=dict)
    halted_because: dict[str, str] = field(default_factory=dict)

    async def record(self, transfer: Transfer, *, now: datetime) -> Transfer:
        self.requested_at.setdefault(transfer.terms.request_id, now)
        return self.transfers.setdefault(transfer.terms.request_id, transfer)

    async def load(self, operator: str, *, now: datetime) -> WalletRecords:
        mine = sorted(
            (each for each in self.transfers.values() if each.terms.operator == operator),
            key=self._order,
        )
        not_closed = [each for each in mine if each.state not in CLOSED_STATES]
        queued = [each for each in mine if each.state is TransferState.QUEUED]
        taken = {each.terms.proxy for each in self.transfers.values() if each.state in OPEN_STATES}
        oldest = {each.terms.proxy: each for each in reversed(queued)}
        return WalletRecords(
            open_transfers=tuple(
                sorted(
                    (each for each in mine if each.state in OPEN_STATES),
                    key=lambda each: each.nonce or 0,
                )
            ),
            queued=tuple(
                each
                for each in queued
                if (oldest[each.terms.proxy] is each and each.terms.proxy not in taken)
                or (each.terms.send_before is not None and each.terms.send_before <= now)
            ),
            next_nonce=self.next_nonces.get(operator, 0),
            halted_because=self.halted_because.get(operator, ""),
            queued_count=len(queued),
            oldest_requested_at=min(
                (self.requested_at[each.terms.request_id] for each in not_closed), default=None
            ),
        )

    async def begin(
        self, transfer: Transfer, attempt: Attempt, *, lease: Lease, now: datetime
    ) -> None:
        self._require_newest(lease)
        terms, nonce = transfer.terms, transfer.nonce
        assert nonce is not None
        is_free = nonce >= self.next_nonces.get(terms.operator, 0)
        if not is_free or self.halted_because.get(terms.operator):
            raise NotBegun(f"nonce {nonce} of {terms.operator} is not free")
        taken = {each.terms.proxy for each in self.transfers.values() if each.state in OPEN_STATES}
        recorded = self.transfers[terms.request_id]
        if recorded.state is not TransferState.QUEUED or terms.proxy in taken:
            raise NotBegun(f"{terms.request_id} is not queued, or another of its proxy is open")
        self.next_nonces[terms.operator] = nonce + 1
        self.transfers[terms.request_id] = replace(
            recorded,
            state=TransferState.SENT,
            nonce=nonce,
            attempts=(attempt,),
            is_reported=False,
            revision=transfer.revision,
        )

    async def add_attempt(
        self, transfer: Transfer, attempt: Attempt, *, lease: Lease, now: datetime
    ) -> None:
        attempts = self.transfers[transfer.terms.request_id].attempts
        await self.save(transfer, lease=lease, now=now)
        recorded = self.transfers[transfer.terms.request_id]
        self.transfers[transfer.terms.request_id] = replace(recorded, attempts=(*attempts, attempt))

    async def save(self, transfer: Transfer, *, lease: Lease, now: datetime) -> None:
        self._require_newest(lease)
        recorded = self.transfers[transfer.terms.request_id]
        if recorded.state in CLOSED_STATES:
            raise ClosedBefore(transfer.terms.request_id)
        self.transfers[transfer.terms.request_id] = replace(
            transfer, nonce=recorded.nonce, attempts=recorded.attempts, lookups_without_trace=0
        )
        if transfer.state is TransferState.LOST:
            self.halted_because.setdefault(
                transfer.terms.operator,
                f"transfer {transfer.terms.request_id}: {transfer.reason}",
            )

    async def load_unreported(self, operator: str) -> list[Transfer]:
        return [
            replace(each, attempts=())
            for each in self.transfers.values()
            if each.terms.operator == operator
            and each.state is not TransferState.QUEUED
            and not each.is_reported
        ]

    async def load_wallets(self) -> list[str]:
        return sorted(
            {
                each.terms.operator
                for each in self.transfers.values()
                if not each.is_reported or each.state not in CLOSED_STATES
            }
        )

    async def mark_reported(self, transfer: Transfer, *, lease: Lease) -> None:
        self._require_newest(lease)
        recorded = self.transfers[transfer.terms.request_id]
        if recorded.revision == transfer.revision:
            self.transfers[transfer.terms.request_id] = replace(recorded, is_reported=True)

    def _order(self, transfer: Transfer) -> tuple[datetime, str]:
        request_id = transfer.terms.request_id
        return self.requested_at[request_id], request_id

    def _require_newest(self, lease: Lease) -> None:
        """Raises: NotLeaseHolder."""
        if lease.token != self.newest_tokens.get(lease.partition, lease.token):
            raise NotLeaseHolder(
                f"another instance holds the lease of partition {lease.partition}: nothing was "
                "written"
            )


class FakeDebts:
    """Debt-recovery's store of debts."""

    def __init__(self) -> None:
        self._debts: dict[str, Debt] = {}

    async def record(self, debt: Debt) -> None:
        self._debts.setdefault(debt.debt_id, debt)

    async def load_outstanding(self) -> list[Debt]:
        return sorted(self._debts.values(), key=lambda debt: (debt.raised_at, debt.debt_id))


class FakeSharedCache:
    """The cache table that all instances of a service share."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self.entries.get(key)

    async def put(self, message: Message) -> None:
        self.entries[message.key().decode()] = message.model_dump_json().encode()


def wire(messages: Sequence[Message]) -> list[Mapping[str, object]]:
    """The messages as JSON."""
    return [json.loads(message.model_dump_json()) for message in messages]
