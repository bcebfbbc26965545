"""The executor dies wherever it can and the venue answers whatever it may, and there is still one
order, told as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from services.executor.decisions import (
    NEVER_ARRIVED_AFTER,
    SETTLED_WITHIN,
    Order,
    OrderLookup,
    VenueReply,
)
from services.executor.handler import Handler
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.follows import GLOBAL, Mode
from shared.domain.money import Side
from shared.messages.base import Message
from shared.messages.intents import IntentApproved, OrderType
from shared.messages.orders import (
    FINAL_STATES,
    OrderReported,
    OrderState,
    TradeReported,
    TradeStatus,
)
from shared.messages.transactions import ConfirmationRequested
from shared.polymarket.replies import (
    Accepted,
    Duplicated,
    Reason,
    Rejected,
    Reply,
    ReplyLost,
    RetryLater,
)
from shared.polymarket.replies import Killed as KilledByVenue
from tests.builders import (
    LEADER,
    NOON,
    ORDER_HASH,
    PROXY,
    TRANSACTION,
    a_trade,
    an_intent,
    approved,
    controls,
    overdue,
    resolved,
    seconds,
    shares,
    usdc,
)  # fmt: skip
from tests.fakes import Clock, FakeOrders, FixedControls, Killed

T = TypeVar("T")

BODY = "signed bytes"
ACCEPTED = Accepted(status="matched", making=usdc(5), taking=shares(10), trade_ids=("venue-1",))
REPLIES: dict[str, Reply] = {
    "accepted": ACCEPTED,
    "delayed": Accepted(status="delayed", making=0, taking=0, trade_ids=()),
    "killed": KilledByVenue("FOK orders are fully filled or killed."),
    "killed with a partial fill": KilledByVenue("FOK orders are fully filled or killed."),
    "matched with trade ids only": Accepted(
        status="matched", making=0, taking=0, trade_ids=("venue-1",)
    ),
    "rejected": Rejected(Reason.BALANCE_TOO_LOW, "not enough balance / allowance"),
    "refused whatever happens": Rejected(Reason.OFF_TICK, "breaks minimum tick size rule: 0.01"),
    "repeated by a gateway": Duplicated("order is invalid. Duplicated."),
    "lost on the way back": ReplyLost("ServerDisconnectedError"),
    "lost on the way there": ReplyLost("ServerDisconnectedError"),
    "not now": RetryLater("restart", 1),
}
TRADED = {
    "accepted", "delayed", "lost on the way back", "killed with a partial fill", "matched with trade ids only", "repeated by a gateway",
}  # fmt: skip
VERIFY_FOR = seconds(4)
LATE = approved().expires_at + NEVER_ARRIVED_AFTER


@dataclass
class World:
    """Books and a venue that outlive the process, and a place where it dies once."""

    reply: str = "accepted"
    dies_after: str = ""
    mode: Mode = Mode.ACTIVE
    books: FakeOrders = field(default_factory=FakeOrders)
    clock: Clock = field(default_factory=lambda: Clock(NOON))
    posted: list[str] = field(default_factory=list)
    arrived: set[str] = field(default_factory=set)
    fills: tuple[TradeReported, ...] = ()
    lists_trades: bool = True
    holds_it: bool = False
    answers: bool = True
    chain_says: str = ""
    unsignable: bool = False
    may_begin: bool = True

    def handler(self) -> Handler:
        book = FixedControls(controls(modes={GLOBAL: self.mode}))
        return Handler(
            orders=self, venue=self, chain=self, signers=self, controls=book, permits=self, now=self.clock, verify_for=VERIFY_FOR
        )  # fmt: skip

    def permit(self, proxy: str) -> None:
        if not self.may_begin:
            raise Transient(f"the old orders of {proxy} come first")

    async def sign(self, approval: IntentApproved) -> Order:
        if self.unsignable:
            raise InvalidMessage("there is no key")
        return Order(
            intent_id=approval.intent_id, proxy=approval.intent.proxy, leader=approval.intent.leader, order_hash=ORDER_HASH, body=BODY,
            side=approval.intent.side, token_id=approval.intent.token_id, state=OrderState.SIGNED, fee_rate=approval.quote.fee_rate,
            expires_at=approval.expires_at, signed_at=self.clock(),
        )  # fmt: skip

    async def record(self, order: Order, approval: IntentApproved) -> Order:
        return self._then("record", await self.books.record(order, approval))

    async def load(self, intent_id: str) -> Order | None:
        return await self.books.load(intent_id)

    async def save(self, order: Order, **at: Any) -> None:
        await self.books.save(order, **at)
        self._then("save", None)

    async def record_trade(self, trade: TradeReported, **at: Any) -> tuple[TradeReported, ...]:
        return self._then("book", await self.books.record_trade(trade, **at))

    async def resolve(self, result: Any, **at: Any) -> None:
        await self.books.resolve(result, **at)

    async def post_order(self, order: Order) -> Reply:
        assert self.books.orders[order.intent_id].body == order.body, "sent before it was kept"
        self.posted.append(order.body)
        return self._then("send", self._answer(order))

    def _answer(self, order: Order) -> Reply:
        if order.body in self.arrived:
            return Duplicated("order is invalid. Duplicated.")
        if self.reply in TRADED:
            self.arrived.add(order.body)
            self.fills = (a_trade(),)
        return REPLIES[self.reply]

    async def load_trades(self, order_hash: str) -> tuple[TradeReported, ...]:
        return await self.books.load_trades(order_hash)

    async def look_up(self, order: Order) -> OrderLookup:
        if not self.answers:
            raise Transient("the venue is away")
        return self._then(
            "ask",
            OrderLookup(trades=self.fills if self.lists_trades else (), is_open=self.holds_it),
        )

    async def fetch_fill(self, order: Order) -> str:
        if self.chain_says == "nothing can be asked":
            raise Transient("no node")
        return self.chain_says

    def _then(self, place: str, value: T) -> T:
        if place == self.dies_after:
            self.dies_after = ""
            raise Killed
        return value

    @property
    def order(self) -> Order:
        return self.books.orders[approved().intent_id]

    async def told(self, *messages: Message) -> list[Message]:
        """What a process says of them that is started again whenever it dies, and tries again what
        may work later.
        """
        said: list[Message] = []
        for message in messages:
            said += await self._until_done(message)
        return said

    async def looked_after(self) -> list[Message]:
        """What it says while its feed comes back to the order, until after its deadline."""
        said = []
        for moment in (
            self.clock.now,
            NOON + seconds(3),
            NOON + seconds(6),
            LATE,
            LATE + seconds(5),
            LATE + seconds(10),
        ):
            self.clock.now = max(moment, self.clock.now)
            said += await self.told(overdue())
        return said

    async def _until_done(self, message: Message) -> Sequence[Message]:
        for _ in range(5):
            try:
                return await _handle(self.handler(), message)
            except Killed:
                continue
            except Transient:
                self.reply = "accepted"
        raise AssertionError("never done")


async def _handle(handler: Handler, message: Message) -> Sequence[Message]:
    if isinstance(message, IntentApproved):
        return await handler.on_intent_approved(message)
    if isinstance(message, TradeReported):
        return await handler.on_trade_reported(message)
    return await handler.on_order_overdue(overdue())


def states(messages: Sequence[Message]) -> list[OrderState]:
    return [message.state for message in messages if isinstance(message, OrderReported)]


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("dies_after", ["", "record", "send", "save", "ask", "book"])
async def test_wherever_it_dies_one_order_reaches_the_venue_and_the_books_end_as_the_venue_has_it(
    reply: str, dies_after: str
) -> None:
    world = World(reply=reply, dies_after=dies_after)

    said = await world.told(approved())
    said += await world.looked_after()
    confirmed = [
        trade.model_copy(update={"status": TradeStatus.CONFIRMED}) for trade in world.fills
    ]
    world.fills = tuple(confirmed)
    said += await world.told(*confirmed)
    said += await world.looked_after()

    assert set(world.posted) == {BODY}
    assert world.order.state in FINAL_STATES
    assert (world.order.state is OrderState.CONFIRMED) == bool(world.fills)
    assert world.order.shares == sum(trade.shares for trade in world.fills)
    assert states(said)[-1] is world.order.state
    assert world.order.alerted_at is None


@pytest.mark.parametrize("dies_after", ["record", "send"])
async def test_an_answer_to_bytes_that_may_have_been_sent_before_proves_nothing_of_the_first_sending(
    dies_after: str,
) -> None:
    """The first sending has spent the money, and the venue looks at the balance before it looks at
    the hash.
    """
    world = World(dies_after=dies_after)
    with pytest.raises(Killed):
        await world.handler().on_intent_approved(approved())
    world.fills = (a_trade(),)
    world.arrived.clear()
    world.reply = "rejected"

    said = await world.told(approved(), overdue())

    assert OrderState.REJECTED not in states(said)
    assert world.order.state is OrderState.MATCHED


@pytest.mark.parametrize(
    "reply", ["lost on the way back", "lost on the way there", "delayed", "repeated by a gateway"]
)
async def test_unknown_is_never_final_before_its_deadline(reply: str) -> None:
    world = World(reply=reply, lists_trades=False)

    await world.told(approved())
    for moment in (NOON, approved().expires_at, LATE - timedelta(microseconds=1)):
        world.clock.now = moment
        await world.told(overdue())

        assert world.order.state is OrderState.UNKNOWN
    world.clock.now = LATE
    await world.told(overdue())

    assert world.order.state is OrderState.KILLED
    assert set(world.posted) == {BODY}


async def test_an_order_that_was_lost_on_its_way_is_made_by_sending_the_same_bytes_again() -> None:
    world = World(reply="lost on the way there")
    await world.told(approved())
    world.reply = "accepted"

    said = await world.told(overdue())

    assert world.posted == [BODY, BODY]
    assert states(said) == [OrderState.MATCHED]


async def test_what_was_taken_and_not_shown_yet_is_found_after_it_is_sent_again() -> None:
    world = World(reply="lost on the way back", lists_trades=False)
    await world.told(approved(), overdue(), overdue())
    assert (world.posted, world.order.last_reply) == ([BODY, BODY], VenueReply.ARRIVED)

    world.lists_trades = True
    await world.told(overdue())

    assert (world.order.state, world.order.shares) == (OrderState.MATCHED, shares(10))


async def test_nothing_is_sent_again_while_halted() -> None:
    world = World(reply="lost on the way there")
    await world.told(approved())
    world.mode = Mode.HALTED

    await world.told(overdue())

    assert world.posted == [BODY]


async def test_a_resending_that_the_venue_does_not_take_now_holds_up_nobody() -> None:
    world = World(reply="lost on the way there")
    await world.told(approved())
    world.reply = "not now"

    assert await world.handler().on_order_overdue(overdue()) == []
    assert world.order.state is OrderState.UNKNOWN


async def test_a_partial_fill_behind_a_kill_is_booked() -> None:
    world = World(reply="killed with a partial fill")
    await world.told(approved())
    assert world.order.state is OrderState.UNKNOWN
    world.fills = (a_trade(shares=shares(3), usdc=usdc("1.5"), fee_usdc=0),)

    said = await world.looked_after()
    assert (world.order.state, world.order.shares) == (OrderState.MATCHED, shares(3))

    said += await world.told(
        a_trade(shares=shares(3), usdc=usdc("1.5"), fee_usdc=0, status=TradeStatus.CONFIRMED)
    )
    assert (world.order.state, world.order.shares, world.order.usdc) == (
        OrderState.CONFIRMED,
        shares(3),
        usdc("1.5"),
    )
    assert world.posted == [BODY]
    assert OrderState.KILLED not in states(said)


async def test_a_kill_is_told_once_the_venue_has_shown_no_trade_for_long_enough() -> None:
    world = World(reply="killed")

    said = await world.told(approved())
    world.clock.now = NOON + seconds(2)
    said += await world.told(overdue())
    assert states(said) == [OrderState.UNKNOWN]

    world.clock.now = NOON + VERIFY_FOR
    assert states(await world.told(overdue())) == [OrderState.KILLED]


async def test_a_venue_that_cannot_be_asked_holds_up_nobody_and_a_human_is_called_at_the_deadline(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(reply="lost on the way there", answers=False)
    await world.told(approved())

    assert await world.handler().on_order_overdue(overdue()) == []
    assert world.order.alerted_at is None
    world.clock.now = LATE
    for _ in range(3):
        assert await world.handler().on_order_overdue(overdue()) == []

    assert world.order.alerted_at == LATE
    assert world.order.state is OrderState.UNKNOWN
    alerts = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(alerts) == 1
    assert all(
        known in alerts[0]
        for known in (
            ORDER_HASH,
            approved().intent_id,
            PROXY,
            "does not answer",
            "ServerDisconnectedError",
        )
    )


@pytest.mark.parametrize("chain_says", [TRANSACTION, "nothing can be asked"])
async def test_what_nobody_said_no_to_does_not_end_against_the_chains_word(
    chain_says: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(reply="lost on the way there", chain_says=chain_says)

    await world.told(approved())
    await world.looked_after()

    assert (world.order.state, world.order.alerted_at) == (OrderState.UNKNOWN, LATE + seconds(5))
    assert "the chain" in world.order.reason
    assert "needs a human" in caplog.text

    world.fills = (a_trade(),)
    await world.told(overdue())
    assert world.order.state is OrderState.MATCHED


async def test_a_delayed_order_is_followed_for_as_long_as_the_venue_holds_it() -> None:
    world = World(reply="delayed", lists_trades=False, holds_it=True)

    await world.told(approved())
    await world.looked_after()
    assert (world.order.state, world.order.alerted_at) == (OrderState.UNKNOWN, LATE)

    world.holds_it, world.lists_trades = False, True
    await world.told(overdue())
    assert world.order.state is OrderState.MATCHED


async def test_a_match_that_never_settles_is_told_to_a_human_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    await world.told(approved(), overdue())
    assert world.order.alerted_at is None

    world.clock.now = late = NOON + SETTLED_WITHIN
    said = await world.told(overdue(), overdue())

    order = world.order
    assert (order.state, order.alerted_at, order.shares) == (OrderState.MATCHED, late, shares(10))
    assert caplog.text.count("needs a human, its trades are not settled") == 1
    assert set(states(said)) == {OrderState.MATCHED}


async def test_an_order_that_the_venue_took_at_no_time_is_refused_in_its_words() -> None:
    world = World(reply="not now")
    with pytest.raises(Transient):
        await world.handler().on_intent_approved(approved())
    world.clock.now = approved().expires_at

    said = await world.told(approved())
    world.clock.now += VERIFY_FOR
    said += await world.told(overdue())

    assert states(said) == [OrderState.UNKNOWN, OrderState.REJECTED]
    assert (world.order.reason, world.posted) == ("restart", [BODY])


async def test_a_trade_that_goes_out_again_is_confirmed_by_its_new_transaction() -> None:
    world = World()
    again = "0x" + "2b" * 32
    reports = [
        (TradeStatus.MINED, TRANSACTION),
        (TradeStatus.RETRYING, TRANSACTION),
        (TradeStatus.MINED, again),
        (TradeStatus.CONFIRMED, again),
    ]

    said = await world.told(
        approved(), *(a_trade(status=status, transaction_hash=named) for status, named in reports)
    )

    (trade,) = world.books.trades.values()
    asked = [
        message.transaction_hash for message in said if isinstance(message, ConfirmationRequested)
    ]
    assert (world.order.state, trade.transaction_hash) == (OrderState.CONFIRMED, again)
    assert asked == [TRANSACTION, again, again]
    assert [message.shares for message in said if isinstance(message, OrderReported)] == [
        shares(10)
    ] * 2


@pytest.mark.parametrize("mode", [Mode.HALTED, Mode.REDUCING])
async def test_an_entry_that_is_paused_between_approval_and_signing_is_withdrawn_unsigned(
    mode: Mode,
) -> None:
    world = World(mode=mode, unsignable=True)

    said = await world.told(approved())

    assert states(said) == [OrderState.WITHDRAWN]
    assert (world.posted, world.order.body) == ([], "")
    assert mode in world.order.reason


async def test_an_exit_is_still_made_while_reducing() -> None:
    exit_ = approved(an_intent(side=Side.SELL), order_type=OrderType.FAK, usdc=0, shares=shares(10))

    assert states(await World(mode=Mode.REDUCING).told(exit_)) == [OrderState.MATCHED]


async def test_nothing_is_sent_once_halted_also_if_it_was_signed_before() -> None:
    world = World(reply="not now")
    with pytest.raises(Transient):
        await world.handler().on_intent_approved(approved())
    world.mode, world.reply = Mode.HALTED, "accepted"
    sent = len(world.posted)

    await world.told(approved(), overdue())

    assert len(world.posted) == sent
    assert world.order.state is OrderState.UNKNOWN


async def test_an_intent_whose_time_is_over_is_withdrawn() -> None:
    world = World()
    world.clock.now = approved().expires_at

    assert states(await world.told(approved())) == [OrderState.WITHDRAWN]
    assert world.posted == []


async def test_what_cannot_be_signed_is_withdrawn_with_the_reason_so_that_its_reservation_ends() -> (
    None
):
    world = World(unsignable=True)

    assert states(await world.told(approved())) == [OrderState.WITHDRAWN]
    assert "there is no key" in world.order.reason


async def test_a_withdrawn_intent_stays_withdrawn_after_the_pause() -> None:
    world = World(mode=Mode.HALTED)
    await world.told(approved())
    world.mode = Mode.ACTIVE

    assert states(await world.told(approved())) == [OrderState.WITHDRAWN]
    assert world.posted == []


async def test_without_confirmed_controls_nothing_is_signed() -> None:
    world = World()
    handler = replace(world.handler(), controls=FixedControls(None))

    with pytest.raises(Transient):
        await handler.on_intent_approved(approved())

    assert (world.posted, world.books.orders) == ([], {})


async def test_a_venue_that_takes_no_orders_now_gets_the_same_bytes_later() -> None:
    world = World(reply="not now")

    assert states(await world.told(approved())) == [OrderState.MATCHED]
    assert world.posted == [BODY, BODY]


async def test_trades_out_of_order_and_repeated_end_confirmed_once() -> None:
    world = World()
    mined = a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)
    confirmed = a_trade(status=TradeStatus.CONFIRMED, transaction_hash=TRANSACTION)

    said = await world.told(approved(), confirmed, mined, a_trade(), confirmed)

    assert states(said)[:2] == [OrderState.MATCHED, OrderState.CONFIRMED]
    assert set(states(said)[1:]) == {OrderState.CONFIRMED}
    assert (world.order.shares, world.order.usdc, world.order.fee_usdc) == (
        shares(10),
        usdc(5),
        usdc("0.1"),
    )


async def test_an_order_of_two_trades_is_confirmed_by_the_second() -> None:
    world = World()
    half = {"shares": shares(5), "usdc": usdc("2.5"), "status": TradeStatus.CONFIRMED}

    await world.told(approved(), a_trade(**half))
    assert world.order.state is OrderState.MATCHED

    await world.told(a_trade(trade_id="venue-2", **half))
    assert (world.order.state, world.order.shares) == (OrderState.CONFIRMED, shares(10))


async def test_a_failed_settlement_is_reversed() -> None:
    world = World()

    said = await world.told(
        approved(), a_trade(status=TradeStatus.MINED), a_trade(status=TradeStatus.FAILED)
    )

    assert states(said)[-1] is OrderState.FAILED
    assert (world.order.shares, world.order.usdc, world.order.fee_usdc) == (0, 0, 0)


async def test_the_failed_half_of_an_order_does_not_count() -> None:
    world = World()
    half = {"shares": shares(5), "usdc": usdc("2.5"), "fee_usdc": 0}

    await world.told(
        approved(),
        a_trade(status=TradeStatus.FAILED, **half),
        a_trade(trade_id="venue-2", **half),
        a_trade(trade_id="venue-2", status=TradeStatus.CONFIRMED, **half),
    )

    assert (world.order.state, world.order.shares, world.order.usdc) == (
        OrderState.CONFIRMED,
        shares(5),
        usdc("2.5"),
    )


async def test_the_chain_is_asked_only_of_a_trade_that_is_on_it() -> None:
    world = World()

    before = await world.told(approved(), a_trade(transaction_hash=TRANSACTION))
    after = await world.told(a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION))

    assert not any(isinstance(message, ConfirmationRequested) for message in before)
    (request,) = [message for message in after if isinstance(message, ConfirmationRequested)]
    assert (request.transaction_hash, request.intent_id) == (TRANSACTION, approved().intent_id)


async def test_what_the_chain_settled_replaces_what_the_venue_rounded() -> None:
    world = World()
    await world.told(approved(), a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION))
    exact = {"order_hash": ORDER_HASH, "shares": shares(10) + 7, "usdc": usdc(5) - 1, "fee_usdc": 3}

    await world.handler().on_transaction_resolved(resolved(fills=(exact,)))

    (trade,) = world.books.trades.values()
    assert (trade.shares, trade.usdc, trade.fee_usdc) == (shares(10) + 7, usdc(5) - 1, 3)


async def test_what_is_told_of_an_order_that_we_never_made_changes_nothing() -> None:
    world = World()

    assert await world.told(a_trade(), overdue()) == []
    assert world.books.trades == {}


async def test_the_leader_who_is_copied_travels_with_the_order() -> None:
    world = World()

    await world.told(approved())

    assert world.order.leader == LEADER


async def test_nothing_new_is_signed_kept_or_sent_before_the_old_orders_were_looked_at() -> None:
    world = World(may_begin=False)

    with pytest.raises(Transient, match="come first"):
        await world.handler().on_intent_approved(approved())

    assert world.posted == []
    assert world.books.orders == {}
