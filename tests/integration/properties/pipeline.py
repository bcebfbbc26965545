"""Ingest, preflight and executor on PostgreSQL, between topics in memory and a model of the venue
and the chain. Any instance may be killed or paused before each call of a port, and is built anew
from the database.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.orders import PostgresOrders
from services.executor.adapters.venue import ClobVenue
from services.executor.adapters.venue_feed import VenueFeed
from services.executor.decisions import Order
from services.executor.handler import Handler as Executor
from services.ingest.adapters import ChainHoldings, PostgresTrades
from services.ingest.handler import Handler as Ingest
from services.preflight.adapters.delays import DelayFeed
from services.preflight.adapters.exits import ExitFeed
from services.preflight.adapters.reconciliation import ChainLevels, ReconciliationFeed
from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.decisions import Limits
from services.preflight.handler import Handler as Preflight
from shared.chain.addresses import LIVE_EXCHANGES
from shared.chain.client import ChainClient
from shared.db.engine import transaction
from shared.db.leases import Leases
from shared.domain.errors import Transient
from shared.messages.base import Message
from shared.messages.intents import CopyIntended, IntentApproved, IntentQuoted, IntentRefused
from shared.messages.leader_fills import LeaderFillSeen
from shared.messages.orders import OrderOverdue, OrderReported, TradeReported
from shared.streams.routes import ignored
from tests.batches import in_batches
from tests.fakes import AlwaysReady, Clock, FakeComplements, FixedControls, Killed
from tests.integration.properties.interruptions import Interruption, interrupted
from tests.integration.properties.key_topics import Delivery, KeyTopics, Queue
from tests.integration.properties.modelled_chain import ModelledChain
from tests.integration.properties.modelled_venue import ModelledVenue

INGEST, PRICER, PREFLIGHT, EXECUTOR = "ingest", "pricer", "preflight", "executor"
CONSUMERS_BY_TOPIC = {
    LeaderFillSeen.topic: INGEST,
    CopyIntended.topic: PRICER,
    IntentQuoted.topic: PREFLIGHT,
    OrderReported.topic: PREFLIGHT,
    IntentApproved.topic: EXECUTOR,
    TradeReported.topic: EXECUTOR,
}
RETRY_DELAY = timedelta(seconds=5)
VERIFY_FOR = timedelta(seconds=5)
OVERDUE_AFTER = timedelta(seconds=5)
RECONCILE_AFTER = timedelta(minutes=1)
NO_PAUSE = timedelta(0)

OWNED_TABLES = (
    "ingest.fills",
    "ingest.copy_slices",
    "ingest.copy_sizes",
    "preflight.intents",
    "preflight.verdicts",
    "preflight.reservations",
    "preflight.reservation_sums",
    "preflight.newest_copies",
    "preflight.spending_windows",
    "preflight.delayed_entries",
    "preflight.positions",
    "preflight.exits",
    "preflight.leader_levels",
    "executor.orders",
    "executor.order_states",
    "executor.open_orders",
    "executor.trades",
)

Handle = Callable[[Any], Awaitable[Sequence[Message]]]
Poll = Callable[[Callable[[Message], Awaitable[None]]], Awaitable[None]]


async def empty_tables(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await connection.execute(text(f"truncate {', '.join(OWNED_TABLES)}"))


@dataclass
class Instance:
    """One process of a service."""

    handle_by_type: dict[type[Message], Handle]
    polls: Sequence[Poll] = ()
    """One round of each of its feeds."""
    interruption: Interruption = field(default_factory=Interruption)


@dataclass
class RecordedOpenOrders:
    """The open orders as recorded. An instance that is paused and its successor have one lease
    here, so that neither may rely on its memory of them.
    """

    orders: PostgresOrders
    open: list[Order] = field(default_factory=list)

    async def read(self, _publish: object) -> None:
        self.open = await self.orders.load_open_orders()

    def list_open(self) -> list[Order]:
        return self.open


@dataclass
class PausedDelivery:
    delivery: Delivery
    task: asyncio.Task[Sequence[Message]]
    interruption: Interruption
    is_replaced: bool
    """Another instance was assigned the partition meanwhile."""


@dataclass
class Pipeline:
    engine: AsyncEngine
    leases: Leases
    clock: Clock
    controls: FixedControls
    limits: Limits
    chain: ModelledChain
    venue: ModelledVenue
    topics: KeyTopics = field(default_factory=lambda: KeyTopics(CONSUMERS_BY_TOPIC))
    paused: PausedDelivery | None = None
    rewind_by: int = 0
    """How many messages of each queue are delivered again when an instance is killed."""
    replaces_paused: bool = False
    journal: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._build = {
            INGEST: self._build_ingest,
            PRICER: self._build_pricer,
            PREFLIGHT: self._build_preflight,
            EXECUTOR: self._build_executor,
        }
        self.instances = {name: build() for name, build in self._build.items()}

    # The services

    def _build_ingest(self) -> Instance:
        chain = cast(ChainClient, self.chain)
        interruption = Interruption()
        handler = Ingest(
            trades=interrupted(PostgresTrades(self.engine), interruption),
            holdings=interrupted(ChainHoldings(chain, exchanges=LIVE_EXCHANGES), interruption),
            complements=FakeComplements(),
            controls=self.controls,
            now=self.clock,
        )
        return Instance({LeaderFillSeen: handler.on_leader_fill_seen}, interruption=interruption)

    def _build_pricer(self) -> Instance:
        async def on_copy_intended(intended: CopyIntended) -> Sequence[Message]:
            return [
                IntentQuoted(
                    message_id=f"{intended.intent_id}:quoted",
                    occurred_at=self.clock.now,
                    intent=intended.intent,
                    quote=self.venue.quote(intended.intent),
                )
            ]

        return Instance({CopyIntended: on_copy_intended})

    def _build_preflight(self) -> Instance:
        interruption = Interruption()
        handler = Preflight(
            controls=self.controls,
            balances=interrupted(self.venue, interruption),
            verdicts=interrupted(PostgresVerdicts(self.engine), interruption),
            limits=self.limits,
            retry_delay=RETRY_DELAY,
            now=self.clock,
        )
        exits = ExitFeed(
            self.engine,
            self.controls,
            owns=lambda _: True,
            now=self.clock,
            poll_interval=NO_PAUSE,
        )
        delays = DelayFeed(self.engine, owns=lambda _: True, now=self.clock, poll_interval=NO_PAUSE)
        levels = ReconciliationFeed(
            self.engine,
            self.controls,
            ChainLevels(cast(ChainClient, self.chain)),
            owns=lambda _: True,
            now=self.clock,
            interval=NO_PAUSE,
            act_after=RECONCILE_AFTER,
        )
        return Instance(
            {
                IntentQuoted: in_batches(handler.on_intents_quoted, handler.on_intent_quoted),
                OrderReported: in_batches(handler.on_orders_reported, handler.on_order_reported),
                IntentRefused: ignored,
            },
            polls=(exits._poll, delays._poll, levels.compare),
            interruption=interruption,
        )

    def _build_executor(self) -> Instance:
        interruption = Interruption()
        orders = PostgresOrders(self.engine, self.leases)
        venue = interrupted(self.venue, interruption)
        handler = Executor(
            orders=interrupted(orders, interruption),
            venue=venue,
            chain=venue,
            signers=venue,
            controls=self.controls,
            readiness=AlwaysReady(),
            now=self.clock,
            verify_for=VERIFY_FOR,
        )
        recorded = RecordedOpenOrders(orders)
        feed = VenueFeed(
            cast(PostgresOrders, recorded),
            cast(ClobVenue, self.venue),
            owns=lambda _: True,
            now=self.clock,
            poll_interval=NO_PAUSE,
            fills_within=NO_PAUSE,
            overdue_after=OVERDUE_AFTER,
            verify_for=VERIFY_FOR,
            max_wallets_per_poll=40,
        )
        return Instance(
            {
                IntentApproved: handler.on_intent_approved,
                TradeReported: handler.on_trade_reported,
                OrderOverdue: handler.on_order_overdue,
            },
            polls=(recorded.read, feed._poll),
            interruption=interruption,
        )

    # What happens to them

    def restart(self, service: str) -> None:
        """End the instance, and start another one with the offsets that were committed."""
        paused = self.paused
        if paused is not None and paused.delivery.queue[0] == service and not paused.is_replaced:
            paused.task.cancel()
            self.topics.release(paused.delivery.queue)
            self.paused = None
        self.instances[service] = self._build[service]()
        self.topics.rewind(service, self.rewind_by)

    async def work(self, *, max_messages: int, first: int) -> int:
        """Handle so many messages at most, from another queue each time; return how many. A message
        that has to wait is tried once.
        """
        blocked: set[Queue] = set()
        for number in range(first, first + max_messages):
            waiting = [queue for queue in self.topics.waiting() if queue not in blocked]
            if not waiting:
                return number - first
            queue = waiting[number % len(waiting)]
            if not await self._handle_next(queue):
                blocked.add(queue)
        return max_messages

    async def work_on_all_keys(self, service: str) -> None:
        """Handle a message of each key at the same time: their rows are written in groups."""
        by_key = {queue[2]: queue for queue in self.topics.waiting() if queue[0] == service}
        deliveries = [self.topics.next_delivery(queue) for queue in by_key.values()]
        instance = self.instances[service]
        instance.interruption.skip_pause()
        results = await asyncio.gather(
            *(instance.handle_by_type[type(each.message)](each.message) for each in deliveries),
            return_exceptions=True,
        )
        if len(deliveries) > 1:
            self._log(f"{service} has handled a message of {len(deliveries)} keys")
        for delivery, result in zip(deliveries, results, strict=True):
            if not isinstance(result, BaseException):
                self.publish(result)
                self.topics.finish(delivery)
            elif isinstance(result, Killed):
                self.restart(service)
            elif isinstance(result, Transient):
                self._log(f"{service} waits: {result}")
            else:
                raise result

    async def poll_feeds(self) -> None:
        async def publish(message: Message) -> None:
            self.publish([message])

        for instance in self.instances.values():
            for poll in instance.polls:
                try:
                    await poll(publish)
                except Transient as error:
                    self._log(f"a feed waits: {error}")

    async def resume_paused(self) -> None:
        """The paused instance goes on with what it was about to do, and publishes its outputs."""
        if self.paused is None:
            return
        paused, self.paused = self.paused, None
        future, paused.interruption.paused = paused.interruption.paused, None
        assert future is not None
        future.set_result(None)
        self.topics.release(paused.delivery.queue)
        try:
            outputs = await paused.task
        except Transient as error:
            self._log(f"the paused instance gave up: {error}")
            return
        except Killed:
            self._log("the paused instance was killed")
            if not paused.is_replaced:
                self.restart(paused.delivery.queue[0])
            return
        self.publish(outputs)
        if not paused.is_replaced:
            self.topics.finish(paused.delivery)

    async def end_interruptions(self) -> None:
        """Let a paused instance go on, and interrupt none any more."""
        for instance in self.instances.values():
            instance.interruption.disarm()
        await self.resume_paused()

    async def stop(self) -> None:
        if self.paused is not None:
            self.paused.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.paused.task

    async def _handle_next(self, queue: Queue) -> bool:
        """Handle the next message of the queue. False: it has to wait."""
        service, delivery = queue[0], self.topics.next_delivery(queue)
        instance = self.instances[service]
        try:
            outputs = await self._handle(instance, delivery)
            if outputs is None:
                return False
            instance.interruption.pass_publication()
        except Transient as error:
            self._log(f"{service} waits: {error}")
            return False
        except Killed:
            self._log(f"{service} was killed with {_describe(delivery.message)}")
            self.restart(service)
            return True
        self.publish(outputs)
        self.topics.finish(delivery)
        return True

    async def _handle(self, instance: Instance, delivery: Delivery) -> Sequence[Message] | None:
        """The outputs; None: the instance is paused before it has any.

        Raises: Transient, Killed.
        """
        handle = instance.handle_by_type[type(delivery.message)]
        interruption = instance.interruption
        if self.paused is not None:
            interruption.skip_pause()
        if not interruption.pauses:
            return await handle(delivery.message)
        task = asyncio.ensure_future(handle(delivery.message))
        pausing = asyncio.ensure_future(interruption.on_paused.wait())
        await asyncio.wait([task, pausing], return_when=asyncio.FIRST_COMPLETED)
        pausing.cancel()
        if task.done():
            return task.result()
        self._pause(delivery, task, interruption)
        return None

    def _pause(
        self,
        delivery: Delivery,
        task: asyncio.Future[Sequence[Message]],
        interruption: Interruption,
    ) -> None:
        self._log(f"{delivery.queue[0]} is paused with {_describe(delivery.message)}")
        interruption.on_paused.clear()
        self.paused = PausedDelivery(
            delivery,
            cast("asyncio.Task[Sequence[Message]]", task),
            interruption,
            self.replaces_paused,
        )
        if self.replaces_paused:
            self.restart(delivery.queue[0])
        else:
            self.topics.withhold(delivery.queue)

    def publish(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._log(_describe(message))
        self.topics.publish(messages)

    def _log(self, line: str) -> None:
        self.journal.append(f"    {self.clock.now:%H:%M:%S} {line}")


def _describe(message: Message) -> str:
    match message:
        case LeaderFillSeen():
            return (
                f"row {message.source} {message.row_type} of {message.transaction_hash[:8]}: "
                f"{message.side} {message.shares}"
            )
        case CopyIntended():
            intent = message.intent
            return (
                f"intent {intent.intent_id[:6]} of {intent.follow_id}: {intent.side} "
                f"usdc={intent.usdc} shares={intent.shares} of {intent.transaction_hash[:8]} "
                f"held={intent.leader_held_shares} continues={intent.continues[:6]} "
                f"{intent.cause} {intent.level or ''}"
            )
        case IntentApproved():
            return f"approved {message.intent_id[:6]} usdc={message.usdc} shares={message.shares}"
        case IntentRefused():
            return f"refused {message.intent_id[:6]}: {message.reason} {message.value}"
        case OrderReported():
            return (
                f"order of {message.intent_id[:6]}: {message.state} shares={message.shares} "
                f"usdc={message.usdc} {message.reason}"
            )
        case TradeReported():
            return f"trade of {message.intent_id[:6]}: {message.status} shares={message.shares}"
        case _:
            return f"{type(message).__name__} {message.message_id[:12]}"
