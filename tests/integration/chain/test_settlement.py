"""Settlement of orders that the client libraries sign: exactly as matched, or not at all."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.wallets import (
    WalletKind,
)
from shared.chain.addresses import LIVE_EXCHANGES
from shared.chain.logs import FEE_CHARGED, ORDERS_MATCHED
from shared.chain.orders import (
    BUY,
    DOMAIN_VERSION_BY_EXCHANGE,
    SELL,
    SignedOrder,
    counter_amount,
    order_hash,
)
from shared.domain.money import Side
from tests.integration.chain.market import (
    DOLLARS,
    SHARES,
    Holdings,
    PaperMarket,
    decode_fills,
    wait_until_mined,
)
from tests.unit.chain.orders import sign_by_clob_client, sign_by_polymarket_client

pytestmark = pytest.mark.integration

both_clients = pytest.mark.parametrize("sign", [sign_by_polymarket_client, sign_by_clob_client])
all_exchanges = pytest.mark.parametrize("exchange", LIVE_EXCHANGES)
all_wallets = pytest.mark.parametrize("kind", list(WalletKind))


@both_clients
@all_exchanges
@all_wallets
async def test_a_buy_and_a_sell_swap_shares_and_pusd(
    deployment: Deployment, sign: Callable[..., SignedOrder], exchange: str, kind: WalletKind
) -> None:
    market = await PaperMarket.open(deployment, exchange=exchange, kind=kind)
    taker = market.order(0, BUY, gives=5_000_000, wants=10_000_000, sign=sign)
    maker = market.order(1, SELL, gives=10_000_000, wants=5_000_000, sign=sign)

    receipt = await market.settle(market.match(taker, maker))

    assert receipt.succeeded
    assert await market.fetch_holdings() == [
        Holdings(usd=DOLLARS - 5_000_000, yes=SHARES + 10_000_000, no=SHARES),
        Holdings(usd=DOLLARS + 5_000_000, yes=SHARES - 10_000_000, no=SHARES),
    ]


@all_exchanges
@all_wallets
async def test_a_buy_of_yes_and_a_buy_of_no_mint_shares(
    deployment: Deployment, exchange: str, kind: WalletKind
) -> None:
    market = await PaperMarket.open(deployment, exchange=exchange, kind=kind)
    taker = market.order(0, BUY, gives=7_000_000, wants=10_000_000)
    maker = market.order(1, BUY, gives=4_000_000, wants=10_000_000, token="no")

    receipt = await market.settle(market.match(taker, maker))

    assert receipt.succeeded
    assert await market.fetch_holdings() == [
        Holdings(
            usd=DOLLARS - 6_000_000, yes=SHARES + 10_000_000, no=SHARES
        ),  # at the maker's price, not at his own limit
        Holdings(usd=DOLLARS - 4_000_000, yes=SHARES, no=SHARES + 10_000_000),
    ]


@all_exchanges
@all_wallets
async def test_a_sell_of_yes_and_a_sell_of_no_merge_into_pusd(
    deployment: Deployment, exchange: str, kind: WalletKind
) -> None:
    market = await PaperMarket.open(deployment, exchange=exchange, kind=kind)
    taker = market.order(0, SELL, gives=10_000_000, wants=6_000_000)
    maker = market.order(1, SELL, gives=10_000_000, wants=3_000_000, token="no")

    receipt = await market.settle(
        market.match(taker, maker, taker_fee=100_000, maker_fees=[50_000])
    )

    assert receipt.succeeded
    assert await market.fetch_holdings() == [
        Holdings(usd=DOLLARS + 7_000_000 - 100_000, yes=SHARES - 10_000_000, no=SHARES),
        Holdings(usd=DOLLARS + 3_000_000 - 50_000, yes=SHARES, no=SHARES - 10_000_000),
    ]


async def test_one_taker_order_matches_makers_of_every_kind(deployment: Deployment) -> None:
    market = await PaperMarket.open(deployment, traders=4)
    taker = market.order(0, BUY, gives=21_000_000, wants=30_000_000)
    cheap = market.order(1, SELL, gives=10_000_000, wants=5_000_000)
    dear = market.order(2, SELL, gives=10_000_000, wants=6_000_000)
    other_side = market.order(3, BUY, gives=3_000_000, wants=10_000_000, token="no")

    receipt = await market.settle(market.match(taker, cheap, dear, other_side))

    assert receipt.succeeded
    assert (await market.fetch_holdings())[0] == Holdings(
        usd=DOLLARS - 5_000_000 - 6_000_000 - 7_000_000, yes=SHARES + 30_000_000, no=SHARES
    )
    assert (await market.fetch_holdings())[3] == Holdings(
        usd=DOLLARS - 3_000_000, yes=SHARES, no=SHARES + 10_000_000
    )


async def test_a_match_emits_the_events_of_the_venue(deployment: Deployment) -> None:
    market = await PaperMarket.open(deployment)
    taker = market.order(0, BUY, gives=6_000_000, wants=10_000_000)
    maker = market.order(1, SELL, gives=10_000_000, wants=5_000_000)

    receipt = await market.settle(market.match(taker, maker, taker_fee=12_345))

    made, took = decode_fills(receipt)
    version = DOMAIN_VERSION_BY_EXCHANGE[market.condition.exchange]
    seller, buyer = market.traders[1].address, market.traders[0].address
    assert (made.maker, made.taker, made.side, made.maker_amount, made.taker_amount) == (
        seller,
        buyer,
        Side.SELL,
        10_000_000,
        5_000_000,
    )
    assert (took.maker, took.side, took.maker_amount, took.taker_amount) == (
        buyer,
        Side.BUY,
        5_000_000,
        10_000_000,
    )
    assert took.is_taker_order
    assert not made.is_taker_order
    assert (made.fee, took.fee) == (0, 12_345)
    assert made.order_hash == order_hash(maker, market.condition.exchange, version)
    assert took.order_hash == order_hash(taker, market.condition.exchange, version)
    topics = [log["topics"][0] for log in receipt.logs]
    assert topics[-1] == ORDERS_MATCHED
    assert topics.count(FEE_CHARGED) == 1


@pytest.mark.parametrize("side", [BUY, SELL])
async def test_a_fee_is_added_to_a_buy_and_deducted_from_a_sell(
    deployment: Deployment, side: int
) -> None:
    market = await PaperMarket.open(deployment)
    collected = await market.fetch_fees()
    buy = market.order(0, BUY, gives=5_000_000, wants=10_000_000)
    sell = market.order(1, SELL, gives=10_000_000, wants=5_000_000)
    taker, maker = (buy, sell) if side == BUY else (sell, buy)

    receipt = await market.settle(market.match(taker, maker, taker_fee=70_000, maker_fees=[20_000]))

    assert receipt.succeeded
    bought, sold = (70_000, 20_000) if side == BUY else (20_000, 70_000)
    assert [held.usd for held in await market.fetch_holdings()] == [
        DOLLARS - 5_000_000 - bought,
        DOLLARS + 5_000_000 - sold,
    ]
    assert await market.fetch_fees() - collected == 90_000


async def test_an_order_is_filled_in_parts_and_never_beyond_its_size(
    deployment: Deployment,
) -> None:
    market = await PaperMarket.open(deployment)
    resting = market.order(1, SELL, gives=10_000_000, wants=5_000_000)

    async def buy(shares: int, salt: int) -> bool:
        taker = market.order(0, BUY, gives=shares // 2, wants=shares, salt=salt)
        return (await market.settle(market.match(taker, resting, maker_fills=[shares]))).succeeded

    assert await buy(4_000_000, salt=1)
    assert not await buy(6_000_002, salt=2)
    assert await buy(6_000_000, salt=3)
    assert not await buy(2, salt=4)
    assert [held.yes for held in await market.fetch_holdings()] == [
        SHARES + 10_000_000,
        SHARES - 10_000_000,
    ]


async def test_sending_a_settlement_twice_settles_it_once(deployment: Deployment) -> None:
    market = await PaperMarket.open(deployment)
    taker = market.order(0, BUY, gives=5_000_000, wants=10_000_000)
    maker = market.order(1, SELL, gives=10_000_000, wants=5_000_000)
    signed = market.settler.sign(market.match(taker, maker))

    assert await market.settler.fetch_receipt(signed.hash) is None
    await market.settler.send(signed)
    await market.settler.send(signed)

    assert (await wait_until_mined(market.settler, signed)).status == 1
    assert (await market.fetch_holdings())[0].yes == SHARES + 10_000_000


async def test_settlements_sent_out_of_order_are_mined_in_order(deployment: Deployment) -> None:
    market = await PaperMarket.open(deployment)
    signed = [
        market.settler.sign(
            market.match(
                market.order(0, BUY, gives=500_000, wants=1_000_000, salt=salt),
                market.order(1, SELL, gives=1_000_000, wants=500_000, salt=salt),
            )
        )
        for salt in range(5)
    ]

    for transaction in reversed(signed):
        await market.settler.send(transaction)

    await wait_until_mined(market.settler, signed[-1])
    receipts = await market.chain.fetch_receipts([transaction.hash for transaction in signed])
    assert [receipt is not None and receipt.succeeded for receipt in receipts] == [True] * 5
    assert [transaction.nonce for transaction in signed] == list(
        range(signed[0].nonce, signed[0].nonce + 5)
    )
    assert (await market.fetch_holdings())[0].yes == SHARES + 5_000_000


@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    shares=st.integers(1_000, 90_000_000),
    price=st.integers(1, 999),
    part=st.integers(1, 1000),
    slack=st.integers(1, 1_000_000),
    fee=st.integers(0, 10_000),
    kind=st.sampled_from(["swap", "mint", "merge"]),
)
async def test_every_fill_moves_exactly_what_was_matched(
    deployment: Deployment, shares: int, price: int, part: int, slack: int, fee: int, kind: str
) -> None:
    """For any part of any order each side gets the exact amounts; nothing is created, lost, or left
    in the exchange.
    """
    market = await PaperMarket.open(deployment)
    money = max(shares * price // 1000, 1)
    maker = {
        "swap": market.order(1, SELL, gives=shares, wants=money),
        "mint": market.order(1, BUY, gives=money, wants=shares, token="no"),
        "merge": market.order(1, SELL, gives=shares, wants=money, token="no"),
    }[kind]
    making = max(maker.maker_amount * part // 1000, 1)
    taking = counter_amount(maker, making)
    if kind == "merge":
        taker = market.order(0, SELL, gives=making, wants=max(making - taking - slack, 0))
        fee = min(fee, making - taking)
    else:
        spent, received = (taking, making) if kind == "swap" else (taking - making, taking)
        taker = market.order(0, BUY, gives=spent + slack, wants=received)
    total = await market.fetch_totals()

    receipt = await market.settle(market.match(taker, maker, maker_fills=[making], taker_fee=fee))

    assert receipt.succeeded
    assert (
        await market.fetch_holdings()
        == {
            "swap": [
                Holdings(usd=DOLLARS - taking - fee, yes=SHARES + making, no=SHARES),
                Holdings(usd=DOLLARS + taking, yes=SHARES - making, no=SHARES),
            ],
            "mint": [
                Holdings(usd=DOLLARS - (taking - making) - fee, yes=SHARES + taking, no=SHARES),
                Holdings(usd=DOLLARS - making, yes=SHARES, no=SHARES + taking),
            ],
            "merge": [
                Holdings(usd=DOLLARS + making - taking - fee, yes=SHARES - making, no=SHARES),
                Holdings(usd=DOLLARS + taking, yes=SHARES, no=SHARES - making),
            ],
        }[kind]
    )
    assert await market.fetch_exchange_holdings() == Holdings(usd=0, yes=0, no=0)
    pairs = {"swap": 0, "mint": taking, "merge": -making}[kind]
    assert await market.fetch_totals() == Holdings(
        usd=total.usd, yes=total.yes + pairs, no=total.no + pairs
    )
