"""What the venue has shown of a wallet's trades is not read again."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from services.executor.adapters.trade_reads import LOOKBACK, SHOWN_WITHIN
from services.executor.decisions import Order
from shared.domain.errors import InvalidMessage, Transient
from shared.messages.orders import OrderState, TradeReported, TradeStatus
from tests.builders import NOON, ORDER_HASH, TOKEN, shares
from tests.orders import an_order, numbered_order
from tests.unit.executor.venue_fakes import WALLET, VenueHarness

DAY = timedelta(days=1)
POLL = timedelta(seconds=1)


@pytest.fixture
def at() -> VenueHarness:
    return VenueHarness()


def a_row(order: Order, *, at: datetime, **overrides: Any) -> dict[str, Any]:
    row = {
        "id": f"trade-of-{order.order_hash}",
        "taker_order_id": order.order_hash,
        "asset_id": TOKEN,
        "size": "10",
        "price": "0.50",
        "status": "MATCHED",
        "match_time": str(int(at.timestamp())),
        "maker_orders": [],
    }
    return row | overrides


def stuck(**overrides: Any) -> Order:
    """Matched at noon, and never settled."""
    return an_order(proxy=WALLET.proxy, state=OrderState.MATCHED, **overrides)


async def poll(at: VenueHarness, *orders: Order) -> tuple[TradeReported, ...]:
    return (await at.venue.fetch_trades(WALLET.proxy, list(orders))).reports


async def test_a_wallets_past_is_read_once_while_an_order_is_stuck(at: VenueHarness) -> None:
    order = stuck()
    at.clob.rows = [a_row(order, at=NOON)]
    at.clock.now = NOON + DAY

    (shown,) = await poll(at, order)
    assert shown.status is TradeStatus.MATCHED
    for _ in range(20):
        at.clock.now += POLL
        assert await poll(at, order) == (shown,)

    assert at.clob.read_from[0] == NOON - LOOKBACK
    assert min(at.clob.read_from[1:]) == NOON + DAY - SHOWN_WITHIN
    assert set(at.clob.read_by_id) == {shown.trade_id}


async def test_what_changes_of_an_old_trade_is_still_read(at: VenueHarness) -> None:
    order = stuck()
    at.clob.rows = [a_row(order, at=NOON)]
    at.clock.now = NOON + DAY
    await poll(at, order)

    at.clob.rows = [a_row(order, at=NOON, status="CONFIRMED", transaction_hash="0xab")]
    at.clock.now += POLL
    (settled,) = await poll(at, order)
    assert (settled.status, settled.transaction_hash) == (TradeStatus.CONFIRMED, "0xab")

    asked = len(at.clob.read_by_id)
    at.clock.now += DAY
    assert await poll(at, order) == (settled,)
    assert len(at.clob.read_by_id) == asked


async def test_a_trade_that_is_matched_later_or_shown_late_is_found(at: VenueHarness) -> None:
    order = stuck()
    at.clock.now = NOON + DAY
    assert await poll(at, order) == ()

    at.clob.rows = [a_row(order, at=at.clock.now - timedelta(seconds=90))]
    at.clock.now += POLL

    assert [each.order_hash for each in await poll(at, order)] == [ORDER_HASH]


@pytest.mark.parametrize("known", [0, 4])
async def test_a_trade_that_is_missing_is_found_however_late_it_is_shown(
    at: VenueHarness, known: int
) -> None:
    order = stuck(shares=shares(10))
    first = [a_row(order, at=NOON, id="first", size=str(known))] if known else []
    at.clob.rows, at.clock.now = list(first), NOON + POLL
    for _ in range(3):
        await poll(at, order)
        at.clock.now += 2 * SHOWN_WITHIN

    at.clob.rows.append(a_row(order, at=NOON, id="late", size=str(10 - known)))

    assert sum(trade.shares for trade in await poll(at, order)) == shares(10)


async def test_an_order_that_was_not_looked_for_is_read_from_its_own_beginning(
    at: VenueHarness,
) -> None:
    """The rows of a read are searched for the orders that were asked for, and not kept."""
    first, second = stuck(), numbered_order(7, proxy=WALLET.proxy, signed_at=NOON)
    at.clob.rows = [a_row(first, at=NOON), a_row(second, at=NOON)]
    at.clock.now = NOON + DAY
    await poll(at, first)

    lookup = await at.venue.look_up(second)

    assert [each.order_hash for each in lookup.reports] == [second.order_hash]
    assert at.clob.read_from[-1] == NOON - LOOKBACK


async def test_an_order_is_known_as_long_as_it_is_asked_for_with_others(at: VenueHarness) -> None:
    old, new = stuck(), numbered_order(7, proxy=WALLET.proxy, signed_at=NOON + DAY)
    at.clob.rows = [a_row(old, at=NOON), a_row(new, at=NOON + DAY)]
    at.clock.now = NOON + DAY + POLL
    await poll(at, old)

    shown = await poll(at, old, new)

    assert {each.order_hash for each in shown} == {old.order_hash, new.order_hash}
    assert at.clob.read_from[-1] == NOON + DAY - SHOWN_WITHIN + POLL


async def test_pages_that_do_not_end_are_read_from_the_same_time_again(at: VenueHarness) -> None:
    order, at.clob.pages_end = stuck(), False
    at.clob.rows = [a_row(order, at=NOON)]
    at.clock.now = NOON + DAY

    for _ in range(2):
        assert len(await poll(at, order)) == 1

    assert at.clob.read_from == [NOON - LOOKBACK] * 2


@pytest.mark.parametrize("named", [{}, {"taker_order_id": None}], ids=["our order", "no order"])
async def test_a_row_that_cannot_be_read_is_read_again_until_it_can(
    at: VenueHarness, named: dict[str, Any]
) -> None:
    order = stuck()
    at.clob.rows = [a_row(order, at=NOON, status="NEW_STATUS", **named)]
    at.clock.now = NOON + DAY

    for _ in range(2):
        with pytest.raises(InvalidMessage):
            await at.venue.look_up(order)
        at.clock.now += POLL
    at.clob.rows = [a_row(order, at=NOON)]

    assert len((await at.venue.look_up(order)).reports) == 1
    assert at.clob.read_from == [NOON - LOOKBACK] * 3


async def test_a_trade_that_the_venue_does_not_show_any_more_stays_known(at: VenueHarness) -> None:
    order = stuck()
    at.clob.rows = [a_row(order, at=NOON)]
    at.clock.now = NOON + DAY
    known = await poll(at, order)

    at.clob.rows = []
    assert await poll(at, order) == known


async def test_a_trade_that_cannot_be_read_by_its_id_withholds_no_other(at: VenueHarness) -> None:
    order, new = stuck(), numbered_order(7, proxy=WALLET.proxy, signed_at=NOON + DAY)
    at.clob.rows = [a_row(order, at=NOON)]
    at.clock.now = NOON + DAY
    await poll(at, order)
    at.clob.error_by_id = Transient("GET /data/trades: status 500")
    at.clob.rows.append(a_row(new, at=NOON + DAY))

    assert len(await poll(at, order, new)) == 2


async def test_a_stale_view_does_not_take_a_status_back(at: VenueHarness) -> None:
    order = stuck()
    at.clob.rows = [a_row(order, at=NOON, status="MINED", transaction_hash="0xab")]
    mined = await poll(at, order)
    at.clob.rows = [a_row(order, at=NOON)]

    assert await poll(at, order) == mined
