"""Every refusal that the venue's documentation and its clients' issues name, caused over HTTP and
compared verbatim.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from eth_account import Account

from shared.chain.addresses import EXCHANGE_V2, EXCHANGE_V3
from shared.chain.orders import SignedOrder, order_hash
from tests.integration.paper_venue.rest import (
    SHARE,
    USDC,
    Reply,
    RestClient,
    l1_headers,
    rest_client,
)
from tests.integration.paper_venue.venue import PaperVenue

pytestmark = pytest.mark.integration

Provoke = Callable[[RestClient], Awaitable[Reply]]

UNKNOWN_ADDRESS = Account.from_key("0x" + "77" * 32).address
UNKNOWN_TOKEN = "71321045679252212594626385532706912750332728571942532289631379312455583992563"


@pytest.fixture
async def client(venue: PaperVenue) -> AsyncIterator[RestClient]:
    async with rest_client(venue) as client:
        yield client


async def post(client: RestClient, **order: Any) -> Reply:
    return await client.send("POST", "/order", client.order(**order))


async def with_an_unknown_key(client: RestClient) -> Reply:
    return await client.send("GET", "/data/orders", POLY_API_KEY=str(uuid.UUID(int=0)))


async def with_a_foreign_wallet_signature(client: RestClient) -> Reply:
    return await client.send(
        "POST",
        "/auth/api-key",
        sign=False,
        **(l1_headers(client.private_key) | {"POLY_ADDRESS": UNKNOWN_ADDRESS}),
    )


async def signed_long_ago(client: RestClient) -> Reply:
    return await client.send("GET", "/data/orders", POLY_TIMESTAMP="1700000000")


async def more_than_the_balance(client: RestClient) -> Reply:
    return await post(client, gives=2_000 * USDC, gets=20_000 * SHARE)


async def less_than_a_dollar(client: RestClient) -> Reply:
    return await post(client, kind="FOK", gives=500_000, gets=1 * SHARE)


async def too_many_decimals(client: RestClient) -> Reply:
    return await post(client, kind="FOK", gives=5_123_456, gets=10 * SHARE)


async def fill_or_kill_far_from_the_market(client: RestClient) -> Reply:
    return await post(client, kind="FOK", gives=2 * USDC, gets=100 * SHARE)


async def fill_and_kill_far_from_the_market(client: RestClient) -> Reply:
    return await post(client, kind="FAK", gives=2 * USDC, gets=100 * SHARE)


async def post_only_through_the_best_price(client: RestClient) -> Reply:
    return await post(client, gives=98 * USDC, gets=100 * SHARE, post_only=True)


async def expiring_in_ten_seconds(client: RestClient) -> Reply:
    return await post(
        client,
        kind="GTD",
        gives=2 * USDC,
        gets=100 * SHARE,
        expiration=time.time_ns() // 1_000_000_000 + 10,
    )


async def for_an_unknown_token(client: RestClient) -> Reply:
    return await post(client, token=UNKNOWN_TOKEN)


async def an_invalid_order(client: RestClient) -> Reply:
    return await client.send("POST", "/order", {"order": "please"})


async def invalid_json(client: RestClient) -> Reply:
    return await client.send("POST", "/order", b"{")


async def with_another_owner(client: RestClient) -> Reply:
    return await client.send("POST", "/order", client.order() | {"owner": str(uuid.UUID(int=0))})


async def with_another_signer(client: RestClient) -> Reply:
    return await post(client, maker=UNKNOWN_ADDRESS, signer=UNKNOWN_ADDRESS)


async def with_a_tampered_amount(client: RestClient) -> Reply:
    body = client.order()
    body["order"]["makerAmount"] = "6000000"
    return await client.send("POST", "/order", body)


async def signed_for_another_exchange(client: RestClient) -> Reply:
    return await post(client, exchange=(EXCHANGE_V3, "3"))


async def for_a_safe_that_does_not_exist(client: RestClient) -> Reply:
    return await post(client, maker=UNKNOWN_ADDRESS, signature_type=2)


async def for_another_wallet(client: RestClient) -> Reply:
    return await post(client, maker=UNKNOWN_ADDRESS)


async def of_the_first_exchange_generation(client: RestClient) -> Reply:
    body = client.order()
    del body["order"]["timestamp"]
    body["order"] |= {"taker": "0x" + "00" * 20, "nonce": "0", "feeRateBps": "0", "expiration": "0"}
    return await client.send("POST", "/order", body)


async def sixteen_orders_in_a_batch(client: RestClient) -> Reply:
    return await client.send("POST", "/orders", [client.order()] * 16)


async def a_thousand_and_one_cancels(client: RestClient) -> Reply:
    return await client.send("DELETE", "/orders", [f"0x{number:064x}" for number in range(1_001)])


async def the_book_of_an_unknown_token(client: RestClient) -> Reply:
    return await client.send("GET", "/book?token_id=1", sign=False)


async def the_market_of_an_unknown_token(client: RestClient) -> Reply:
    return await client.send("GET", "/markets-by-token/1", sign=False)


async def a_condition_of_31_bytes(client: RestClient) -> Reply:
    return await client.send("GET", "/clob-markets/0x" + "01" * 31, sign=False)


async def a_second_key(client: RestClient) -> Reply:
    return await client.send("POST", "/auth/api-key", sign=False, **l1_headers(client.private_key))


REFUSALS: list[tuple[Provoke, int, str]] = [
    (with_an_unknown_key, 401, "Unauthorized/Invalid api key"),
    (signed_long_ago, 401, "Unauthorized/Invalid api key"),
    (with_a_foreign_wallet_signature, 401, "Invalid L1 Request headers"),
    (a_second_key, 400, "Could not create api key"),
    (more_than_the_balance, 400, "not enough balance / allowance"),
    (less_than_a_dollar, 400, "invalid amount for a marketable BUY order ($0.5), min size: $1"),
    (
        fill_or_kill_far_from_the_market,
        400,
        "order couldn't be fully filled. FOK orders are fully filled or killed.",
    ),
    (
        fill_and_kill_far_from_the_market,
        400,
        "no orders found to match with FAK order. "
        "FAK orders are partially filled or killed if no match is found.",
    ),
    (post_only_through_the_best_price, 400, "invalid post-only order: order crosses book"),
    (expiring_in_ten_seconds, 400, "invalid expiration"),
    (for_an_unknown_token, 400, "Invalid token id"),
    (an_invalid_order, 400, "Invalid order payload"),
    (invalid_json, 400, "Invalid order payload"),
    (with_another_owner, 400, "the order owner has to be the owner of the API KEY"),
    (with_another_signer, 400, "the order signer address has to be the address of the API KEY"),
    (
        for_a_safe_that_does_not_exist,
        400,
        "maker address not allowed, please use the deposit wallet flow",
    ),
    (for_another_wallet, 400, "maker address not allowed, please use the deposit wallet flow"),
    (
        of_the_first_exchange_generation,
        400,
        "invalid order version, please use the latest clob-client",
    ),
    (signed_for_another_exchange, 400, "order_version_mismatch"),
    (with_a_tampered_amount, 400, "invalid signature"),
    (
        too_many_decimals,
        400,
        "invalid amounts, the market buy orders maker amount supports a max accuracy of "
        "2 decimals, taker amount a max of 4 decimals",
    ),
    (sixteen_orders_in_a_batch, 400, "Too many orders in payload: 16, max allowed: 15"),
    (a_thousand_and_one_cancels, 400, "Too many orders in payload: 1001, max allowed: 1000"),
    (the_book_of_an_unknown_token, 404, "No orderbook exists for the requested token id"),
    (the_market_of_an_unknown_token, 404, "market not found"),
    (a_condition_of_31_bytes, 404, "market not found"),
]


@pytest.mark.parametrize(
    ("provoke", "status", "text"), REFUSALS, ids=[provoke.__name__ for provoke, _, _ in REFUSALS]
)
async def test_an_invalid_request_is_refused_with_the_venues_text(
    client: RestClient, provoke: Provoke, status: int, text: str
) -> None:
    assert (await provoke(client)).refusal == (status, text)


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (
            {"gives": 400_000, "gets": 4 * SHARE},
            "order {id} is invalid. Size (4) lower than the minimum: 5",
        ),
        (
            {"gives": 3_300_000, "gets": 100 * SHARE},
            "order {id} is invalid. Price (0.033) breaks minimum tick size rule: 0.01",
        ),
    ],
)
async def test_an_order_that_breaks_a_market_rule_is_refused_with_its_id(
    client: RestClient, order: dict[str, Any], text: str
) -> None:
    body = client.order(**order)

    answer = await client.send("POST", "/order", body)

    assert answer.refusal == (400, text.replace("{id}", compute_order_id(body)))


async def test_the_same_order_again_is_duplicated(client: RestClient) -> None:
    body = client.order(gives=2 * USDC, gets=100 * SHARE)

    first = await client.send("POST", "/order", body)
    again = await client.send("POST", "/order", body)

    assert first.payload["status"] == "live"
    assert again.refusal == (400, f"order {first.payload['orderID']} is invalid. Duplicated.")


OPERATOR_TEXTS = [
    (400, "the market is not yet ready to process new orders"),
    (400, "order match delayed due to market conditions"),
    (400, f"'{UNKNOWN_ADDRESS}' address banned"),
    (400, "order canceled in the CTF exchange contract"),
    (500, "order timed out"),
    (500, "there are no matching orders"),
    (500, "the trade contains rounding issues"),
    (
        500,
        "the price of the taker's order has a discrepancy greater than allowed "
        "with the worst maker order",
    ),
]


@pytest.mark.parametrize(("status", "text"), OPERATOR_TEXTS)
async def test_texts_that_depend_on_the_operator_are_sent_on_demand(
    client: RestClient, status: int, text: str
) -> None:
    await client.set_faults({"order-refused": {"text": text}})
    try:
        refused = await post(client)
    finally:
        await client.clear_faults()
    accepted = await post(client, gives=2 * USDC, gets=100 * SHARE)

    assert refused.refusal == (status, text)
    assert accepted.payload["status"] == "live"


STATES = [
    ("order-timed-out", 500, {"error": "order timed out"}),
    ("disabled", 503, {"error": "Trading is currently disabled. Check polymarket.com for updates"}),
    (
        "cancel-only",
        503,
        {
            "error": "Trading is currently cancel-only. "
            "New orders are not accepted, but cancels are allowed."
        },
    ),
    (
        "post-only",
        503,
        {
            "error": "post-only mode: only post-only orders and cancels are allowed",
            "code": "post_only_mode",
            "retry_after_seconds": 2,
        },
    ),
    ("restart", 425, None),
    ("closed-only", 400, {"error": "address in closed only mode"}),
]


@pytest.mark.parametrize(("fault", "status", "body"), STATES, ids=[fault for fault, _, _ in STATES])
async def test_the_venues_own_states_refuse_orders(
    client: RestClient, fault: str, status: int, body: Any
) -> None:
    await client.set_faults({fault: {}})
    try:
        refused = await post(client)
    finally:
        await client.clear_faults()

    assert refused.status == status
    assert body is None or refused.payload == body, "the restart's body is not known"


async def test_too_many_orders_of_one_signer_are_refused_with_retry_after(
    client: RestClient,
) -> None:
    await client.set_faults({"rate-limit-signer": {"seconds": "60"}})
    try:
        answers = [await post(client, gives=2 * USDC, gets=100 * SHARE) for _ in range(3)]
    finally:
        await client.clear_faults()

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[-1].payload == {"error": "Too Many Requests"}
    assert int(answers[-1].headers["Retry-After"]) > 0


async def test_a_refused_order_of_a_batch_has_its_error_in_its_row(client: RestClient) -> None:
    good, bad = (
        client.order(gives=2 * USDC, gets=100 * SHARE),
        client.order(gives=2_000 * USDC, gets=20_000 * SHARE),
    )

    answer = await client.send("POST", "/orders", [good, bad])

    assert answer.status == 200
    assert [(row["success"], row["orderID"], row["errorMsg"]) for row in answer.payload] == [
        (True, compute_order_id(good), ""),
        (True, "", "not enough balance / allowance"),
    ]


def compute_order_id(body: dict[str, Any]) -> str:
    """The order id of a body, computed independently of the venue's reply."""
    order = body["order"]
    signed = SignedOrder(
        salt=order["salt"],
        maker=order["maker"],
        signer=order["signer"],
        token_id=int(order["tokenId"]),
        maker_amount=int(order["makerAmount"]),
        taker_amount=int(order["takerAmount"]),
        side=0 if order["side"] == "BUY" else 1,
        signature_type=order["signatureType"],
        timestamp=int(order["timestamp"]),
        metadata=order["metadata"],
        builder=order["builder"],
        signature=order["signature"],
    )
    return order_hash(signed, EXCHANGE_V2, "2")
