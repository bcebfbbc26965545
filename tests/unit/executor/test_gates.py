"""What one order has learned about the venue is not learned again by the others."""

import logging
from typing import Any

import pytest

from services.executor.adapters.gates import VenueGates
from services.executor.decisions import Order, VenueReply, apply_reply, may_have_arrived
from shared.domain.money import Side
from shared.messages.orders import OrderState
from shared.observe.metrics import REGISTRY
from shared.polymarket.gates import Gate
from shared.polymarket.replies import (
    Duplicated,
    Killed,
    Reason,
    Rejected,
    Reply,
    ReplyLost,
    RetryLater,
    parse_reply,
)
from tests.builders import NOON, OTHER_PROXY, seconds
from tests.fakes import Clock
from tests.orders import an_order
from tests.unit.executor.venue_fakes import ACCEPTED, WALLET, VenueHarness

RESTARTING = RetryLater("the matching engine is restarting", gate=Gate.RESTARTING)
BLOCKED = Rejected(Reason.REGION_BLOCKED, "Trading restricted in your region, please refer")
CLOSED_ONLY = Rejected(Reason.CLOSED_ONLY, "address in closed only mode")
INTERVAL = seconds(2)


class Venue:
    """Gates, with a clock, and orders of two wallets."""

    def __init__(self) -> None:
        self.clock = Clock(NOON)
        self.gates = VenueGates(now=self.clock, probe_interval=INTERVAL)

    def reply(self, *, may_have_arrived: bool = False, **order: Any) -> Reply | None:
        return self.gates.known_reply(an_order(**order), may_have_arrived=may_have_arrived)

    def answer(self, reply: Reply, **order: Any) -> None:
        """The venue answers an order that was posted now."""
        self.gates.learn(an_order(**order), reply, posted_at=self.clock.now)


@pytest.fixture
def venue() -> Venue:
    return Venue()


@pytest.mark.parametrize(
    ("status", "text", "gate"),
    [
        (425, "the matching engine is restarting", Gate.RESTARTING),
        (425, "", Gate.RESTARTING),
        (503, "Trading is currently disabled. Check polymarket.com for updates", Gate.DISABLED),
        (
            503,
            "Trading is currently cancel-only. New orders are not accepted, but cancels are "
            "allowed.",
            Gate.CANCEL_ONLY,
        ),
        (503, "post-only mode: only post-only orders and cancels are allowed", Gate.POST_ONLY),
        (400, "Trading is currently disabled. Check polymarket.com for updates", Gate.DISABLED),
        (403, "Trading restricted in your region, please refer", Gate.REGION_BLOCKED),
        (400, "'0xab' address in closed only mode", Gate.CLOSED_ONLY),
        # about this order, its signer or the way to the venue
        (403, "", None),
        (403, "Forbidden", None),
        (405, "Method Not Allowed", None),
        (429, "Too Many Requests", None),
        (503, "", None),
        (400, "the market is not yet ready to process new orders", None),
        (400, "'0xab' address banned", None),
    ],
)
def test_a_reply_says_whether_it_is_about_all_orders(
    status: int, text: str, gate: Gate | None
) -> None:
    reply = parse_reply(status, {"error": text})

    assert isinstance(reply, RetryLater | Rejected)
    assert reply.gate is gate


@pytest.mark.parametrize(
    "reply",
    [
        ACCEPTED,
        Killed("no"),
        Duplicated("again"),
        Rejected(Reason.OFF_TICK, "breaks minimum tick size rule: 0.01"),
        Rejected(Reason.REGION_BLOCKED, "Forbidden"),
        RetryLater("Too Many Requests", 1),
        RetryLater("no connection to the venue"),
        ReplyLost("reset"),
    ],
)
def test_other_replies_close_no_gate(venue: Venue, reply: Reply) -> None:
    venue.answer(reply)

    assert venue.reply() is None


def test_while_the_venue_restarts_one_order_per_interval_asks_and_the_others_wait(
    venue: Venue,
) -> None:
    assert venue.reply() is None
    venue.answer(RESTARTING)

    asked = 0
    for _ in range(12):
        venue.clock.now += INTERVAL / 4
        replies = [venue.reply(proxy=proxy) for proxy in (OTHER_PROXY, WALLET.proxy)]
        asked += replies.count(None)
        assert set(replies) <= {None, RESTARTING}
    assert asked == 3


def test_the_time_that_the_venue_asks_for_is_waited_for(venue: Venue) -> None:
    venue.answer(RetryLater("post-only mode: only", 7, gate=Gate.POST_ONLY))

    venue.clock.now += seconds(7) - INTERVAL / 4
    assert isinstance(venue.reply(), RetryLater)
    venue.clock.now += INTERVAL / 4
    assert venue.reply() is None


@pytest.mark.parametrize(
    ("reply", "opens"),
    [
        (ACCEPTED, True),
        (Killed("no"), True),
        (Duplicated("again"), True),
        (Rejected(Reason.BALANCE_TOO_LOW, "no"), True),
        (CLOSED_ONLY, True),
        (Rejected(Reason.UNAUTHORIZED, "no"), False),
        (Rejected(Reason.REGION_BLOCKED, "Forbidden"), False),
        (RetryLater("Too Many Requests", 1), False),
        (RESTARTING, False),
        (ReplyLost("reset"), False),
    ],
)
def test_the_gate_opens_for_all_when_the_venue_has_looked_at_an_order(
    venue: Venue, reply: Reply, opens: bool
) -> None:
    venue.answer(RESTARTING)
    venue.clock.now += INTERVAL
    assert venue.reply() is None

    venue.answer(reply)

    assert (venue.reply(proxy=OTHER_PROXY) is None) is opens


def test_a_reply_to_an_order_from_before_does_not_open_the_gate(venue: Venue) -> None:
    before = venue.clock.now
    venue.clock.now += INTERVAL
    venue.answer(RESTARTING)

    venue.gates.learn(an_order(), ACCEPTED, posted_at=before)

    assert venue.reply() == RESTARTING


def test_a_blocked_region_ends_new_entries_of_all_wallets(venue: Venue) -> None:
    """Some regions may close positions and not open any."""
    venue.answer(BLOCKED, side=Side.BUY)

    reply = venue.reply(proxy=OTHER_PROXY, side=Side.BUY)

    assert isinstance(reply, Rejected)
    assert reply.reason is Reason.REGION_BLOCKED
    assert "not posted" in reply.text
    after = apply_reply(an_order(), reply, is_first_post=True, now=NOON)
    assert after.state is OrderState.REJECTED
    assert venue.reply(proxy=OTHER_PROXY, side=Side.SELL) is None


@pytest.mark.parametrize("known", [BLOCKED, CLOSED_ONLY])
def test_an_exit_that_was_not_posted_waits_until_the_venue_answers_it(
    venue: Venue, known: Rejected
) -> None:
    venue.answer(known, side=Side.SELL)

    reply = venue.reply(side=Side.SELL)

    assert reply == RetryLater(known.text, gate=known.gate)
    waiting = apply_reply(an_order(side=Side.SELL), reply, is_first_post=True, now=NOON)
    assert (waiting.state, waiting.last_reply) == (OrderState.SIGNED, VenueReply.RETRY_LATER)
    assert venue.reply(side=Side.BUY) is None

    venue.clock.now += INTERVAL
    assert venue.reply(side=Side.SELL) is None
    venue.answer(ACCEPTED, side=Side.SELL)
    assert venue.reply(side=Side.SELL) is None


def test_an_exit_of_another_wallet_waits_while_the_region_is_blocked(venue: Venue) -> None:
    venue.answer(BLOCKED, side=Side.SELL, proxy=WALLET.proxy)

    assert isinstance(venue.reply(side=Side.SELL, proxy=OTHER_PROXY), RetryLater)
    assert venue.reply(side=Side.BUY, proxy=OTHER_PROXY) is None


def test_closed_only_ends_entries_of_that_wallet_alone(venue: Venue) -> None:
    venue.answer(CLOSED_ONLY, proxy=WALLET.proxy, side=Side.BUY)

    entry = venue.reply(proxy=WALLET.proxy, side=Side.BUY)
    assert isinstance(entry, Rejected)
    assert entry.reason is Reason.CLOSED_ONLY
    assert venue.reply(proxy=WALLET.proxy, side=Side.SELL) is None
    assert venue.reply(proxy=OTHER_PROXY, side=Side.BUY) is None

    # an exit that the venue takes says nothing about entries
    venue.answer(ACCEPTED, proxy=WALLET.proxy, side=Side.SELL)
    assert isinstance(venue.reply(proxy=WALLET.proxy, side=Side.BUY), Rejected)
    venue.clock.now += INTERVAL
    assert venue.reply(proxy=WALLET.proxy, side=Side.BUY) is None
    venue.answer(ACCEPTED, proxy=WALLET.proxy, side=Side.BUY)
    assert venue.reply(proxy=WALLET.proxy, side=Side.BUY) is None


@pytest.mark.parametrize("known", [BLOCKED, CLOSED_ONLY, RESTARTING])
def test_an_order_that_may_have_arrived_waits_and_is_never_refused(
    venue: Venue, known: Reply
) -> None:
    order = an_order(state=OrderState.UNKNOWN)
    venue.gates.learn(order, known, posted_at=NOON)

    reply = venue.gates.known_reply(order, may_have_arrived=True)

    assert isinstance(reply, RetryLater)
    assert apply_reply(order, reply, is_first_post=False, now=NOON) == order


@pytest.mark.parametrize(
    ("order", "is_first_post", "arrived"),
    [
        (an_order(), True, False),
        (an_order(), False, True),  # the process may have died after the post
        (an_order(last_reply=VenueReply.RETRY_LATER), False, False),
        (an_order(state=OrderState.UNKNOWN), False, True),
        (an_order(state=OrderState.UNKNOWN, last_reply=VenueReply.RETRY_LATER), False, True),
    ],
)
def test_only_bytes_that_were_never_taken_cannot_have_arrived(
    order: Order, is_first_post: bool, arrived: bool
) -> None:
    assert may_have_arrived(order, is_first_post=is_first_post) is arrived


def test_closing_and_opening_are_logged_once_and_counted(
    venue: Venue, caplog: pytest.LogCaptureFixture
) -> None:
    def count(gate: Gate) -> float | None:
        return REGISTRY.get_sample_value("slipstream_venue_gates_closed", {"gate": gate})

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            venue.answer(RESTARTING)
            venue.answer(RESTARTING, proxy=OTHER_PROXY)
        closed = (count(Gate.RESTARTING), count(Gate.POST_ONLY))
        venue.answer(RetryLater("post-only mode", gate=Gate.POST_ONLY))
        changed = (count(Gate.RESTARTING), count(Gate.POST_ONLY))
        venue.answer(ACCEPTED)
        venue.answer(ACCEPTED)

    assert (closed, changed) == ((1, 0), (0, 1))
    assert (count(Gate.RESTARTING), count(Gate.POST_ONLY)) == (0, 0)
    assert ["takes no" in each.message for each in caplog.records] == [True, True, False]
    assert "takes orders again" in caplog.records[-1].message


async def test_the_venue_adapter_posts_no_order_that_a_gate_answers() -> None:
    at = VenueHarness()
    order = an_order(proxy=WALLET.proxy, body='{"owner":"key-1"}')
    at.clob.replies.append(RESTARTING)

    assert await at.venue.post_order(order) == RESTARTING

    assert at.venue.known_reply(order, may_have_arrived=False) == RESTARTING
    assert len(at.clob.posted) == 1
