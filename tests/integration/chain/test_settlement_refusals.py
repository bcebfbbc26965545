"""Settlements that the exchange refuses on the chain: nothing moves."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from services.paper_venue.chain.calldata import encode_call
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.sender import Call, local_account, send_and_mine
from services.paper_venue.chain.settlement import Settler
from services.paper_venue.chain.wallets import (
    WalletKind,
    fail_transfers,
    set_transfers_paused,
)
from services.paper_venue.lifecycle.settlement import Settlement
from shared.chain.addresses import PUSD
from shared.chain.orders import (
    BUY,
    SELL,
)
from shared.testing.waiting import eventually
from tests.integration.chain.market import (
    DOLLARS,
    PaperMarket,
    wait_until_mined,
)

pytestmark = pytest.mark.integration

BLOCKS = 50
"""More than the empty blocks that a node may still add after earlier tests."""


async def test_a_settled_match_cannot_be_settled_again(deployment: Deployment) -> None:
    market = await PaperMarket.open(deployment)
    taker = market.order(0, BUY, gives=5_000_000, wants=10_000_000)
    maker = market.order(1, SELL, gives=10_000_000, wants=5_000_000)
    first = await market.settle(market.match(taker, maker))
    before = await market.fetch_holdings()

    again = await market.settle(market.match(taker, maker))

    assert (first.succeeded, again.succeeded) == (True, False)
    assert await market.fetch_holdings() == before


def _change_settlement(**changes: Any) -> Callable[[Settlement], Settlement]:
    return lambda settlement: replace(settlement, **changes)


def _change_taker(**changes: Any) -> Callable[[Settlement], Settlement]:
    return lambda settlement: replace(settlement, taker=replace(settlement.taker, **changes))


def _change_maker(**changes: Any) -> Callable[[Settlement], Settlement]:
    return lambda settlement: replace(
        settlement, makers=(replace(settlement.makers[0], **changes),)
    )


@pytest.mark.parametrize(
    "corrupt",
    [
        _change_taker(taker_amount=9_000_000),
        _change_taker(salt=2),
        _change_taker(signature="0x" + "11" * 65),
        _change_taker(signature="0x"),
        _change_taker(signature_type=1),
        _change_taker(signature_type=2),
        _change_taker(signature_type=3),
        _change_maker(taker_amount=4_000_000),
        _change_maker(maker="0x" + "11" * 20),
        _change_settlement(taker_fill=5_000_001),
        _change_settlement(maker_fills=(10_000_001,)),
        _change_settlement(maker_fills=(9_999_999,)),
        _change_settlement(maker_fills=(0,)),
        _change_settlement(taker_fill=4_999_999),
        _change_settlement(taker_fill=0),
        _change_settlement(makers=(), maker_fills=(), maker_fees=()),
        _change_settlement(maker_fees=()),
        _change_settlement(maker_fills=()),
        _change_settlement(maker_fees=(5_000_001,)),
        _change_settlement(taker_fee=2 * DOLLARS),
    ],
)
async def test_an_invalid_settlement_moves_nothing(
    deployment: Deployment, corrupt: Callable[[Settlement], Settlement]
) -> None:
    market = await PaperMarket.open(deployment)
    taker = market.order(0, BUY, gives=5_000_000, wants=10_000_000)
    maker = market.order(1, SELL, gives=10_000_000, wants=5_000_000)
    before = await market.fetch_holdings()

    receipt = await market.settle(corrupt(market.match(taker, maker)))

    assert not receipt.succeeded
    assert await market.fetch_holdings() == before
    assert (await market.settle(market.match(taker, maker))).succeeded


@pytest.mark.parametrize(
    ("taker", "maker"),
    [
        ((BUY, 5_000_000, 10_000_000, "yes"), (SELL, 10_000_000, 5_000_001, "yes")),
        ((SELL, 10_000_000, 5_000_001, "yes"), (BUY, 5_000_000, 10_000_000, "yes")),
        ((BUY, 5_000_000, 10_000_000, "yes"), (BUY, 4_999_999, 10_000_000, "no")),
        ((SELL, 10_000_000, 5_000_000, "yes"), (SELL, 10_000_000, 5_000_001, "no")),
        ((BUY, 5_000_000, 10_000_000, "yes"), (SELL, 10_000_000, 5_000_000, "no")),
        ((BUY, 5_000_000, 10_000_000, "yes"), (BUY, 5_000_000, 10_000_000, "yes")),
    ],
    ids=[
        "buy below sell",
        "sell above buy",
        "mint below one",
        "merge above one",
        "two tokens",
        "twice the same",
    ],
)
async def test_prices_that_do_not_cross_are_refused(
    deployment: Deployment, taker: tuple[int, int, int, str], maker: tuple[int, int, int, str]
) -> None:
    market = await PaperMarket.open(deployment)
    orders = [
        market.order(who, side, gives=gives, wants=wants, token=token)
        for who, (side, gives, wants, token) in enumerate([taker, maker])
    ]
    before = await market.fetch_holdings()

    assert not (await market.settle(market.match(*orders))).succeeded
    assert await market.fetch_holdings() == before


@pytest.mark.parametrize("kind", [WalletKind.PROXY, WalletKind.SAFE, WalletKind.DEPOSIT])
async def test_another_key_cannot_trade_for_a_wallet(
    deployment: Deployment, kind: WalletKind
) -> None:
    market = await PaperMarket.open(deployment, traders=3, kind=kind)
    victim, _, thief = market.traders
    stolen = replace(market, traders=(replace(victim, key=thief.key), *market.traders[1:]))
    taker = stolen.order(0, BUY, gives=5_000_000, wants=10_000_000)
    maker = market.order(1, SELL, gives=10_000_000, wants=5_000_000)
    before = await market.fetch_holdings()

    assert not (await market.settle(market.match(taker, maker))).succeeded
    assert await market.fetch_holdings() == before


async def test_only_the_operator_settles(deployment: Deployment) -> None:
    market = await PaperMarket.open(deployment)
    taker = market.order(0, BUY, gives=5_000_000, wants=10_000_000)
    maker = market.order(1, SELL, gives=10_000_000, wants=5_000_000)
    stranger = await Settler.start(
        replace(deployment, operator=local_account(market.traders[0].key))
    )

    signed = stranger.sign(market.match(taker, maker))
    await stranger.send(signed)

    assert (await wait_until_mined(stranger, signed)).status == 0


async def has_mined_beyond(market: PaperMarket, number: int) -> bool:
    await market.deployment.rpc.call("evm_mine")
    return (await market.chain.fetch_latest_block()).number > number


async def test_a_settlement_that_failed_for_refused_transfers_can_be_sent_again(
    deployment: Deployment,
) -> None:
    market = await PaperMarket.open(deployment)
    match = market.match(
        market.order(0, BUY, gives=5_000_000, wants=10_000_000),
        market.order(1, SELL, gives=10_000_000, wants=5_000_000),
    )
    before = await market.fetch_holdings()

    await fail_transfers(deployment, blocks=BLOCKS)
    failing = await market.settle(match)
    await eventually(
        lambda: has_mined_beyond(market, failing.block_number + BLOCKS),
        what="the blocks in which transfers fail are past",
    )
    await set_transfers_paused(deployment, paused=True)
    paused = await market.settle(match)
    between = await market.fetch_holdings()
    await set_transfers_paused(deployment, paused=False)
    repeated = await market.settle(match)

    assert (failing.succeeded, paused.succeeded, repeated.succeeded) == (False, False, True)
    assert between == before


async def test_a_wallet_that_withdrew_its_approval_is_not_touched(deployment: Deployment) -> None:
    market = await PaperMarket.open(deployment)
    withdrawal = Call(
        to=PUSD, data=encode_call("approve(address,uint256)", market.condition.exchange, 4_999_999)
    )
    await send_and_mine(deployment.rpc, [(local_account(market.traders[0].key), withdrawal)])
    taker = market.order(0, BUY, gives=5_000_000, wants=10_000_000)
    maker = market.order(1, SELL, gives=10_000_000, wants=5_000_000)
    before = await market.fetch_holdings()

    assert not (await market.settle(market.match(taker, maker))).succeeded
    assert await market.fetch_holdings() == before
