"""The unmodified official client lets wallets of every kind act: approve, split, merge and redeem,
through the relayer or directly.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak
from polymarket import AsyncSecureClient
from polymarket._internal.actions.relayer.approvals import get_trading_approvals_state
from polymarket._internal.actions.relayer.gasless import build_signed_deposit_wallet_payload
from polymarket._internal.environment import create_environment, get_environment_config
from polymarket.auth import BuilderApiKey, RelayerApiKey
from polymarket.calls import (
    TransactionCall,
    ctf_merge_positions_call,
    ctf_redeem_positions_call,
    ctf_split_position_call,
    erc20_transfer_call,
    router_merge_call,
    router_redeem_call,
    router_split_call,
)
from polymarket.environments import Environment
from polymarket.errors import RequestRejectedError, TransactionFailedError, UserInputError
from polymarket.types import EvmAddress

from services.paper_venue.chain.artifacts import load_artifacts
from services.paper_venue.chain.conditions import Condition, prepare_condition, report_payouts
from services.paper_venue.chain.deployment import Deployment, deploy
from services.paper_venue.chain.wallets import fund_gas, mint
from shared.chain.addresses import (
    COLLATERAL_ADAPTER,
    EXCHANGE_V2,
    EXCHANGE_V3,
    NEG_RISK_COLLATERAL_ADAPTER,
    NEG_RISK_EXCHANGE_V2,
    PUSD,
    ROUTER,
)
from shared.chain.client import ChainClient
from shared.chain.deposit_wallets import beacon_deposit_wallet_address
from shared.chain.safes import safe_address
from tests.integration.paper_venue.relayer_requests import (
    ZERO_ADDRESS,
    fetch_relayer_key,
    fetch_relayer_keys,
    key_text,
    make_key,
    prepare_wallet,
    submit,
    wait_until_final,
)
from tests.integration.paper_venue.venue import PaperVenue, npm_folder

pytestmark = pytest.mark.integration

KINDS = ("eoa", "safe", "deposit", "proxy")
RELAYED = KINDS[1:]
START = 100_000_000


@pytest.fixture
async def deployment(venue: PaperVenue, rpc_url: str) -> AsyncIterator[Deployment]:
    """The running venue's chain, with its admin's key."""
    deployed = await deploy(rpc_url, load_artifacts(Path(npm_folder())))
    yield deployed
    await deployed.rpc.close()


def fast_polling(venue: PaperVenue) -> Environment:
    """The production environment at this venue's addresses, polling every 20 ms."""
    config = dataclasses.replace(
        get_environment_config(venue.environment()),
        relayer_poll_frequency_ms=20,
        relayer_max_polls=10_000,
    )
    return create_environment(name="paper", config=config)


@asynccontextmanager
async def new_wallet(
    venue: PaperVenue, deployment: Deployment, kind: str, test: str
) -> AsyncIterator[AsyncSecureClient]:
    """An official client of a new wallet, with money and without any approval."""
    owner = make_key(f"{kind} {test}")
    if kind == "eoa":
        await fund_gas(deployment, [owner.address])
    client = await AsyncSecureClient.create(
        private_key=key_text(owner),
        wallet=await prepare_wallet(venue, kind, owner),
        environment=fast_polling(venue),
        api_key=await fetch_relayer_key(venue, owner.address),
    )
    await mint(deployment, [client.wallet], START)
    try:
        yield client
    finally:
        await client.close()


async def fetch_holdings(
    deployment: Deployment, client: AsyncSecureClient, condition: Condition
) -> tuple[int, int, int]:
    """The wallet's micro-pUSD and its shares of YES and of NO."""
    read = await ChainClient(deployment.rpc).fetch_balances(
        client.wallet, [condition.yes_token, condition.no_token]
    )
    return (
        read.collateral,
        read.shares_by_token[condition.yes_token],
        read.shares_by_token[condition.no_token],
    )


async def execute(client: AsyncSecureClient, *calls: TransactionCall) -> None:
    await (await client.execute_transaction(calls=list(calls))).wait()


@dataclass(frozen=True, kw_only=True)
class Conversions:
    """The client's calls for one kind of market."""

    exchange: str
    split: Callable[[str, int], TransactionCall]
    merge: Callable[[str, int], TransactionCall]
    redeem: Callable[[str, int], list[TransactionCall]]


def through_adapter(adapter: str, exchange: str) -> Conversions:
    target, collateral = EvmAddress(adapter), EvmAddress(PUSD)
    return Conversions(
        exchange=exchange,
        split=lambda condition, amount: ctf_split_position_call(
            target=target, collateral=collateral, condition_id=condition, amount=amount
        ),
        merge=lambda condition, amount: ctf_merge_positions_call(
            target=target, collateral=collateral, condition_id=condition, amount=amount
        ),
        redeem=lambda condition, _: [
            ctf_redeem_positions_call(ctf=target, collateral=collateral, condition_id=condition)
        ],
    )


def through_router() -> Conversions:
    router = EvmAddress(ROUTER)
    return Conversions(
        exchange=EXCHANGE_V3,
        split=lambda condition, amount: router_split_call(
            router=router, condition_id=condition, amount=amount
        ),
        merge=lambda condition, amount: router_merge_call(
            router=router, condition_id=condition, amount=amount
        ),
        redeem=lambda condition, amount: [
            router_redeem_call(
                router=router, condition_id=condition, outcome_index=outcome, amount=amount
            )
            for outcome in (0, 1)
        ],
    )


CONVERSIONS = {
    "v1": through_adapter(COLLATERAL_ADAPTER, EXCHANGE_V2),
    "neg-risk": through_adapter(NEG_RISK_COLLATERAL_ADAPTER, NEG_RISK_EXCHANGE_V2),
    "v2": through_router(),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_new_wallet_approves_splits_merges_and_redeems(
    venue: PaperVenue, deployment: Deployment, kind: str
) -> None:
    async with new_wallet(venue, deployment, kind, "positions") as client:
        await client.setup_trading_approvals()
        for name, conversions in CONVERSIONS.items():
            question = "0x" + keccak(text=f"relayer test {kind} {name}").hex()
            condition = await prepare_condition(deployment, question, exchange=conversions.exchange)
            start, _, _ = await fetch_holdings(deployment, client, condition)

            await execute(client, conversions.split(condition.condition_id, 10_000_000))
            assert await fetch_holdings(deployment, client, condition) == (
                start - 10_000_000,
                10_000_000,
                10_000_000,
            )
            await execute(client, conversions.merge(condition.condition_id, 4_000_000))
            assert await fetch_holdings(deployment, client, condition) == (
                start - 6_000_000,
                6_000_000,
                6_000_000,
            )
            await report_payouts(deployment, condition, yes=3, no=1)
            await execute(client, *conversions.redeem(condition.condition_id, 6_000_000))
            assert await fetch_holdings(deployment, client, condition) == (start, 0, 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_setup_grants_all_17_missing_approvals(
    venue: PaperVenue, deployment: Deployment, kind: str
) -> None:
    async with new_wallet(venue, deployment, kind, "approvals") as client:
        config, rpc = get_environment_config(client.environment), client._ctx.rpc
        before = await get_trading_approvals_state(rpc, wallet=client.wallet, config=config)
        await client.setup_trading_approvals()
        after = await get_trading_approvals_state(rpc, wallet=client.wallet, config=config)

    assert len(before.missing.erc20 + before.missing.erc1155) == 17
    assert after.is_fully_approved


async def test_a_new_deposit_wallet_is_created_where_the_client_derives_it_and_trades(
    venue: PaperVenue, deployment: Deployment
) -> None:
    async with new_wallet(venue, deployment, "deposit", "trade") as client:
        await client.setup_trading_approvals()
        cash = await client.get_balance_allowance(asset_type="COLLATERAL")
        order = await client.place_limit_order(
            asset_id=venue.token(), price="0.02", size="10", side="BUY"
        )

    assert client.wallet == beacon_deposit_wallet_address(client.signer)
    assert cash.balance == START
    assert order.ok, order.message


async def test_two_simultaneous_calls_of_one_wallet_are_both_executed(
    venue: PaperVenue, deployment: Deployment
) -> None:
    async with new_wallet(venue, deployment, "deposit", "two at once") as client:
        pay = [
            erc20_transfer_call(
                token_address=EvmAddress(PUSD), recipient=EvmAddress(ZERO_ADDRESS), amount=amount
            )
            for amount in (1, 2)
        ]
        await asyncio.gather(*(execute(client, call) for call in pay))
        left = (await ChainClient(deployment.rpc).fetch_balances(client.wallet)).collateral

    assert left == START - 3


@pytest.mark.parametrize("kind", RELAYED)
async def test_a_call_that_reverts_fails_with_its_reason_and_leaves_the_wallet_usable(
    venue: PaperVenue, deployment: Deployment, kind: str
) -> None:
    async with new_wallet(venue, deployment, kind, "reverts") as client:
        too_much = erc20_transfer_call(
            token_address=EvmAddress(PUSD), recipient=EvmAddress(ZERO_ADDRESS), amount=START + 1
        )
        with pytest.raises(TransactionFailedError, match="revert"):
            await execute(client, too_much)
        await execute(
            client,
            dataclasses.replace(
                too_much,
                data=erc20_transfer_call(
                    token_address=EvmAddress(PUSD), recipient=EvmAddress(ZERO_ADDRESS), amount=START
                ).data,
            ),
        )
        left = (await ChainClient(deployment.rpc).fetch_balances(client.wallet)).collateral

    assert left == 0


async def test_a_client_learns_that_its_safe_does_not_exist(venue: PaperVenue) -> None:
    owner = make_key("no safe")
    with pytest.raises(UserInputError, match="does not exist"):
        await AsyncSecureClient.create(
            private_key=key_text(owner),
            wallet=safe_address(owner.address),
            environment=fast_polling(venue),
        )


async def test_builder_keys_are_accepted_and_invented_keys_denied(
    venue: PaperVenue, deployment: Deployment
) -> None:
    owner = make_key("keys")
    wrong = RelayerApiKey(key="11111111-1111-4111-8111-111111111111", address=owner.address)
    create = partial(
        AsyncSecureClient.create, private_key=key_text(owner), environment=fast_polling(venue)
    )
    with pytest.raises(RequestRejectedError, match="invalid authorization") as denied:
        await create(api_key=wrong)
    client = await create(
        api_key=BuilderApiKey(**(await fetch_relayer_keys(venue, owner.address))["builder"])
    )
    await client.close()

    assert denied.value.status == 401
    assert client.wallet_type == "DEPOSIT_WALLET"


async def build_batch(client: AsyncSecureClient, *, nonce: str | None = None) -> dict[str, Any]:
    """A deposit wallet's signed batch, as the client would submit it."""
    pay = erc20_transfer_call(
        token_address=EvmAddress(PUSD), recipient=EvmAddress(ZERO_ADDRESS), amount=1
    )
    return dict(
        await build_signed_deposit_wallet_payload(
            client._ctx, calls=[pay], metadata="", nonce=nonce
        )
    )


async def test_an_invalid_batch_is_refused_before_anything_is_sent(
    venue: PaperVenue, deployment: Deployment
) -> None:
    async with new_wallet(venue, deployment, "deposit", "wrong") as client:
        owner, stranger = client.signer, make_key("deposit stranger").address
        first = await build_batch(client)
        dearer = first | {"depositWalletParams": first["depositWalletParams"] | {"deadline": "1"}}
        assert await submit(venue, owner, dearer) == (400, {"error": "invalid signature"})
        assert await submit(venue, owner, first | {"from": stranger}) == (
            400,
            {"error": "wallet registry validation failed"},
        )
        assert await submit(venue, owner, {"type": "WALLET"}) == (
            400,
            {"error": "invalid request payload"},
        )
        status, sent = await submit(venue, owner, first)
        assert (status, (await wait_until_final(venue, sent))["state"]) == (200, "STATE_CONFIRMED")
        stale, early = (
            await submit(venue, owner, first),
            await submit(venue, owner, await build_batch(client, nonce="7")),
        )
        left = (await ChainClient(deployment.rpc).fetch_balances(client.wallet)).collateral

    assert stale == (400, {"error": "batch nonce 0 does not match on-chain nonce 1"})
    assert early == (400, {"error": "batch nonce 7 does not match on-chain nonce 1"})
    assert left == START - 1


@pytest.mark.parametrize(("version", "neg_risk"), [("v1", False), ("v2", False), ("v1", True)])
async def test_the_client_splits_merges_and_redeems_by_a_markets_condition(
    venue: PaperVenue, deployment: Deployment, version: str, neg_risk: bool
) -> None:
    chain = ChainClient(deployment.rpc)
    market = await venue.find_market_to_resolve(version, neg_risk=neg_risk)
    async with new_wallet(venue, deployment, "deposit", f"ending {version} {neg_risk}") as client:
        condition, tokens = market["condition_id"], [int(token) for token in market["token_ids"]]
        await client.setup_trading_approvals()
        await (await client.split_position(condition_id=condition, amount=5_000_000)).wait()
        split = await chain.fetch_balances(client.wallet, tokens)
        await (await client.merge_positions(condition_id=condition, amount=2_000_000)).wait()
        await venue.control("resolve", {"condition_id": condition, "outcome": "yes"})
        await (await client.redeem_positions(condition_id=condition)).wait()
        redeemed = await chain.fetch_balances(client.wallet, tokens)

    assert (split.collateral, set(split.shares_by_token.values())) == (
        START - 5_000_000,
        {5_000_000},
    )
    assert (redeemed.collateral, set(redeemed.shares_by_token.values())) == (START, {0})


async def test_an_eoa_splits_and_merges_by_a_markets_condition_in_plain_transactions(
    venue: PaperVenue, deployment: Deployment
) -> None:
    market = venue.world["markets"][0]
    async with new_wallet(venue, deployment, "eoa", "by condition") as client:
        await client.setup_trading_approvals()
        await (
            await client.split_position(condition_id=market["condition_id"], amount=5_000_000)
        ).wait()
        await (
            await client.merge_positions(condition_id=market["condition_id"], amount="max")
        ).wait()
        left = await ChainClient(deployment.rpc).fetch_balances(
            client.wallet, [int(market["token_ids"][0])]
        )

    assert (left.collateral, set(left.shares_by_token.values())) == (START, {0})
