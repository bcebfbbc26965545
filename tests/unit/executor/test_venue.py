"""How the executor's adapter posts an order again, and what it reads of the venue's trades."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.executor.adapters.keyring import RENEWAL_INTERVAL
from services.executor.adapters.venue import set_owner
from services.executor.decisions import Order, apply_reply
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.money import Side
from shared.messages.orders import OrderState
from shared.polymarket.replies import Reason, Rejected, Reply, ReplyLost, RetryLater
from tests.builders import NOON, ORDER_HASH, TOKEN
from tests.orders import an_order
from tests.unit.executor.venue_fakes import ACCEPTED, NO_BALANCE, WALLET, VenueHarness

SIGNED = '{"salt":9007199254740991,"signature":"0xab","price":1.10}'


def body(owner: str) -> str:
    return f'{{"deferExec":false,"order":{SIGNED},"orderType":"FOK","owner":"{owner}"}}'


def ours(**overrides: Any) -> Order:
    return an_order(proxy=WALLET.proxy, body=body("key-1"), **overrides)


@pytest.fixture
def at() -> VenueHarness:
    return VenueHarness()


@pytest.mark.parametrize(("side", "token_id"), [(Side.BUY, None), (Side.SELL, TOKEN)])
async def test_a_refusal_for_the_balance_refreshes_the_venues_view_and_sends_the_same_bytes_once(
    at: VenueHarness, side: Side, token_id: str | None
) -> None:
    at.clob.replies.extend([NO_BALANCE, ACCEPTED])

    reply = await at.venue.post_order(ours(side=side))

    assert reply == ACCEPTED
    assert at.clob.refreshed == [(token_id, WALLET.signature_type)]
    assert at.clob.posted == [(body("key-1"), "key-1")] * 2


async def test_a_second_refusal_for_the_balance_stands(at: VenueHarness) -> None:
    at.clob.replies.extend([NO_BALANCE, NO_BALANCE])

    assert await at.venue.post_order(ours()) == replace(NO_BALANCE, is_repeat=True)


async def test_a_balance_that_cannot_be_refreshed_leaves_the_refusal(at: VenueHarness) -> None:
    at.clob.replies.append(NO_BALANCE)
    at.clob.refresh_error = Transient("429")

    assert await at.venue.post_order(ours()) == NO_BALANCE


async def test_an_order_that_has_expired_meanwhile_is_not_sent_again(at: VenueHarness) -> None:
    at.clob.replies.append(NO_BALANCE)
    order = ours(expires_at=NOON)

    assert await at.venue.post_order(order) == NO_BALANCE
    assert len(at.clob.posted) == 1


@pytest.mark.parametrize(
    ("second", "state"),
    [
        (Rejected(Reason.OFF_TICK, "no"), OrderState.UNKNOWN),
        (ReplyLost("reset"), OrderState.UNKNOWN),
        (RetryLater("restart"), OrderState.SIGNED),
        (ACCEPTED, OrderState.MATCHED),
    ],
)
async def test_after_a_refusal_that_an_acceptance_can_cause_no_refusal_is_final_at_once(
    at: VenueHarness, second: Reply, state: OrderState
) -> None:
    at.clob.replies.extend([NO_BALANCE, second])

    reply = await at.venue.post_order(ours())

    assert apply_reply(ours(), reply, is_first_post=True, now=NOON).state is state


async def test_the_acceptance_of_another_order_is_no_reply_to_this_one(
    at: VenueHarness, caplog: pytest.LogCaptureFixture
) -> None:
    other = "0x" + "ee" * 32
    at.clob.replies.extend([replace(ACCEPTED, order_id=other)] * 2)

    reply = await at.venue.post_order(ours())

    assert reply == ReplyLost(f"accepted as another order: {other}")
    assert apply_reply(ours(), reply, is_first_post=True, now=NOON).state is OrderState.UNKNOWN
    assert f"answered by the venue's acceptance of order {other}" in caplog.text


async def test_the_venue_may_write_the_hash_of_an_order_in_any_case(at: VenueHarness) -> None:
    accepted = replace(ACCEPTED, order_id=ORDER_HASH.upper().replace("0X", "0x"))
    at.clob.replies.append(accepted)

    assert await at.venue.post_order(ours()) == accepted


async def test_an_order_whose_key_was_replaced_is_sent_with_the_new_key_and_the_signed_bytes(
    at: VenueHarness,
) -> None:
    at.clob.replies.append(ACCEPTED)
    await at.keyring.fetch_credentials(WALLET.proxy)
    at.clob.valid_key = at.clob.issued_key = "key-2"

    assert await at.venue.post_order(ours()) == ACCEPTED
    assert at.clob.posted == [(body("key-1"), "key-1"), (body("key-2"), "key-2")]


async def test_a_recorded_order_of_an_earlier_key_is_sent_with_the_key_of_now(
    at: VenueHarness,
) -> None:
    at.clob.valid_key = at.clob.issued_key = "key-2"
    at.clob.replies.append(ACCEPTED)

    assert await at.venue.post_order(ours()) == ACCEPTED
    assert at.clob.posted == [(body("key-2"), "key-2")]


@pytest.mark.parametrize("issued", ["key-1", InvalidMessage("refused"), Transient("503")])
async def test_a_wallet_that_gets_no_valid_key_is_unauthorized_and_not_asked_for_in_a_loop(
    at: VenueHarness, issued: str | Exception
) -> None:
    await at.keyring.fetch_credentials(WALLET.proxy)
    at.clob.valid_key, at.clob.issued_key = "key-2", issued

    replies = [await at.venue.post_order(ours()) for _ in range(5)]

    assert {reply.reason for reply in replies if isinstance(reply, Rejected)} == {
        Reason.UNAUTHORIZED
    }
    assert at.clob.keys_requested == 2
    at.clob.issued_key = "key-2"
    at.clob.replies.append(ACCEPTED)
    at.clock.now += RENEWAL_INTERVAL
    assert await at.venue.post_order(ours(expires_at=NOON + timedelta(hours=1))) == ACCEPTED


async def test_reads_are_made_again_with_the_new_key(at: VenueHarness) -> None:
    await at.keyring.fetch_credentials(WALLET.proxy)
    at.clob.valid_key = at.clob.issued_key = "key-2"

    lookup = await at.venue.look_up(ours())

    assert (lookup.reports, lookup.is_open) == ((), False)
    assert (at.clob.reads_refused, at.clob.keys_requested) == (1, 2)


async def test_a_read_that_the_new_key_does_not_allow_either_is_transient(at: VenueHarness) -> None:
    at.clob.valid_key = "nobody has it"

    for _ in range(3):
        with pytest.raises(Transient):
            await at.venue.look_up(ours())
    assert at.clob.keys_requested == 2


def test_only_the_owner_of_the_envelope_changes() -> None:
    changed = set_owner(body("key-1"), "key-2")

    assert changed == body("key-2")
    assert SIGNED in changed
    assert json.loads(changed)["owner"] == "key-2"
    assert set_owner(body("key-1"), "key-1") == body("key-1")
    assert set_owner('{"signed":"bytes"}', "key-2") == '{"signed":"bytes"}'


def a_row(**overrides: Any) -> dict[str, Any]:
    row = {
        "id": "trade-1",
        "taker_order_id": ORDER_HASH,
        "asset_id": TOKEN,
        "size": "10",
        "price": "0.50",
        "status": "CONFIRMED",
        "match_time": "1790272257",
        "owner": "key-1",
        "maker_orders": [],
    }
    return row | overrides


A_MAKER = {"asset_id": TOKEN, "matched_amount": "0", "price": "0.5", "order_id": "0xm"}
UNREADABLE: dict[str, dict[str, Any]] = {
    "a new status": {"status": "NEW_STATUS"},
    "a maker with nothing": {"maker_orders": [A_MAKER]},
    "a time that is none": {"match_time": "noon"},
}
OTHER: dict[str, Any] = {"taker_order_id": "0xother"}


@pytest.mark.parametrize("wrong", UNREADABLE.values(), ids=UNREADABLE)
async def test_an_unreadable_row_fails_alone(at: VenueHarness, wrong: dict[str, Any]) -> None:
    other = ours(order_hash="0xother", intent_id="2b" * 16)
    at.clob.rows = [a_row(**wrong), a_row(**OTHER), a_row(taker_order_id="0xforeign", status="X")]

    found = await at.venue.fetch_trades(WALLET.proxy, [ours(), other])

    assert [report.order_hash for report in found.reports] == ["0xother"]
    assert [(row.order_hash, row.row) for row in found.unreadable] == [
        (ORDER_HASH, at.clob.rows[0])
    ]
    assert found.problem_with(ours())
    assert not found.problem_with(other)


@pytest.mark.parametrize(
    "row",
    [
        *(a_row(**wrong) for wrong in UNREADABLE.values()),
        a_row(taker_order_id=None),
        a_row(taker_order_id=""),
        a_row(**OTHER, maker_orders=[A_MAKER | {"order_id": ORDER_HASH}]),
    ],
    ids=str,
)
async def test_an_order_that_an_unreadable_row_may_be_about_is_not_an_order_without_trades(
    at: VenueHarness, row: dict[str, Any]
) -> None:
    at.clob.rows = [row]

    with pytest.raises(InvalidMessage):
        await at.venue.look_up(ours())


async def test_a_row_in_milliseconds_is_read(at: VenueHarness) -> None:
    at.clob.rows = [a_row(match_time="1790272257000")]

    assert len((await at.venue.look_up(ours())).reports) == 1


async def test_pages_that_do_not_end_show_trades_but_prove_no_absence(at: VenueHarness) -> None:
    at.clob.pages_end = False
    with pytest.raises(InvalidMessage, match="do not end"):
        await at.venue.look_up(ours())

    at.clob.rows = [a_row()]
    assert len((await at.venue.look_up(ours())).reports) == 1
