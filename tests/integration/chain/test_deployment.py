"""Deployment of the local chain, with wallets and conditions that clients recognise."""

from dataclasses import replace
from pathlib import Path

import pytest
from eth_utils.crypto import keccak
from polymarket._internal.environment import PRODUCTION_CONFIG
from polymarket._internal.wallet import (
    derive_proxy_wallet_address,
    derive_safe_wallet_address,
    derive_uups_deposit_wallet_address,
)

from services.paper_venue.chain.artifacts import Artifacts, MissingArtifact, load_artifacts
from services.paper_venue.chain.calldata import encode_call
from services.paper_venue.chain.conditions import distribute_shares, prepare_condition
from services.paper_venue.chain.deployment import Deployment, deploy
from services.paper_venue.chain.sender import (
    Call,
    TransactionReverted,
    local_account,
    send_and_mine,
)
from services.paper_venue.chain.wallets import (
    WalletKind,
    create_wallets,
    execute_from_safes,
    fetch_owner,
    paper_key,
)
from shared.chain.addresses import (
    COLLATERAL_SPENDERS,
    CONDITIONAL_TOKENS,
    EXCHANGE_V2,
    EXCHANGE_V3,
    LIVE_EXCHANGES,
    POSITION_MANAGER,
    PUSD,
    SHARE_OPERATORS,
    is_v3_position,
)
from shared.chain.client import ChainClient
from shared.chain.rpc import NodeRefused
from shared.chain.safes import SafeTransaction
from tests.integration.chain.market import DOLLARS, SHARES, PaperMarket

pytestmark = pytest.mark.integration

ANOTHER_WALLET = "0x" + "5a" * 20
all_exchanges = pytest.mark.parametrize("exchange", LIVE_EXCHANGES)


async def _count_venue_transactions(deployment: Deployment) -> list[int]:
    senders = (deployment.admin.address, deployment.operator.address)
    counts = await deployment.rpc.call_batch(
        [("eth_getTransactionCount", [sender, "pending"]) for sender in senders]
    )
    return [int(each, 16) for each in counts]


async def test_a_second_deployment_changes_nothing(
    deployment: Deployment, rpc_url: str, artifacts: Artifacts
) -> None:
    market = await PaperMarket.open(deployment)
    sent, holdings = await _count_venue_transactions(deployment), await market.fetch_holdings()

    again = await deploy(rpc_url, artifacts)

    assert await _count_venue_transactions(deployment) == sent
    assert await market.fetch_holdings() == holdings
    await again.rpc.close()


async def test_without_automine_the_deployment_mines_its_transactions(
    deployment: Deployment,
) -> None:
    await deployment.rpc.call("evm_setAutomine", False)
    try:
        for kind in WalletKind:
            (wallet,) = await create_wallets(
                deployment, kind, [paper_key(f"by hand {kind}", 0)], collateral=DOLLARS
            )
            assert (
                await ChainClient(deployment.rpc).fetch_balances(wallet.address)
            ).conditional_tokens_approved >= {EXCHANGE_V2}
    finally:
        await deployment.rpc.call("evm_setAutomine", True)


def test_missing_packages_are_reported_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="install the stack's npm packages"):
        load_artifacts(tmp_path)


@all_exchanges
async def test_a_conditions_token_ids_are_those_of_its_contract(
    deployment: Deployment, exchange: str
) -> None:
    condition = await prepare_condition(
        deployment, "0x" + keccak(text=f"ids {exchange}").hex(), exchange=exchange
    )

    await distribute_shares(deployment, [condition], [ANOTHER_WALLET], SHARES)

    read = await ChainClient(deployment.rpc).fetch_balances(
        ANOTHER_WALLET, [condition.yes_token, condition.no_token]
    )
    assert read.shares_by_token == {condition.yes_token: SHARES, condition.no_token: SHARES}
    assert (is_v3_position(condition.yes_token), is_v3_position(condition.no_token)) == (
        exchange == EXCHANGE_V3,
    ) * 2
    assert (
        await prepare_condition(deployment, condition.question_id, exchange=exchange) == condition
    )


@pytest.mark.parametrize("kind", list(WalletKind))
async def test_a_new_wallet_has_pusd_and_every_approval_that_clients_require(
    deployment: Deployment, kind: WalletKind
) -> None:
    (wallet,) = await create_wallets(deployment, kind, [paper_key("new", 0)], collateral=DOLLARS)
    operators = {operator for each in SHARE_OPERATORS.values() for operator in each}
    spenders = sorted({*COLLATERAL_SPENDERS, *operators, ANOTHER_WALLET})

    read = await ChainClient(deployment.rpc, spenders=spenders).fetch_balances(wallet.address)

    assert read.collateral == DOLLARS
    assert {
        spender for spender, amount in read.allowance_by_spender.items() if amount == 2**256 - 1
    } == set(COLLATERAL_SPENDERS)
    assert read.allowance_by_spender[ANOTHER_WALLET] == 0
    assert read.conditional_tokens_approved == set(SHARE_OPERATORS[CONDITIONAL_TOKENS])
    assert read.position_manager_approved == set(SHARE_OPERATORS[POSITION_MANAGER])


async def test_a_safe_has_the_derived_address_and_obeys_its_owner_only(
    deployment: Deployment,
) -> None:
    mine, other = await create_wallets(
        deployment,
        WalletKind.SAFE,
        [paper_key("obeys", 0), paper_key("obeys", 1)],
        collateral=DOLLARS,
    )
    payment = SafeTransaction(
        to=PUSD, data=encode_call("transfer(address,uint256)", ANOTHER_WALLET, 1_000_000)
    )
    thief = replace(mine, key=other.key)
    chain = ChainClient(deployment.rpc)
    before = (await chain.fetch_balances(ANOTHER_WALLET)).collateral

    assert mine.address == derive_safe_wallet_address(
        mine.owner, PRODUCTION_CONFIG.wallet_derivation
    )
    assert await fetch_owner(deployment, mine.address) == mine.owner
    assert await fetch_owner(deployment, mine.owner) is None
    assert await fetch_owner(deployment, CONDITIONAL_TOKENS) is None
    await execute_from_safes(deployment, [mine], payment)
    with pytest.raises(TransactionReverted):
        await execute_from_safes(deployment, [thief], payment)
    assert (await chain.fetch_balances(ANOTHER_WALLET)).collateral - before == 1_000_000
    assert (await chain.fetch_balances(mine.address)).collateral == DOLLARS - 1_000_000


async def test_a_proxy_wallet_obeys_its_owner_only(deployment: Deployment) -> None:
    mine, other = await create_wallets(
        deployment,
        WalletKind.PROXY,
        [paper_key("proxies", 0), paper_key("proxies", 1)],
        collateral=DOLLARS,
    )
    payment = encode_call("transfer(address,uint256)", ANOTHER_WALLET, 1_000_000)
    acting = Call(
        to=mine.address,
        data=encode_call("proxy((uint8,address,uint256,bytes)[])", [(1, PUSD, 0, payment)]),
    )
    chain = ChainClient(deployment.rpc)
    before = (await chain.fetch_balances(ANOTHER_WALLET)).collateral

    assert mine.address == derive_proxy_wallet_address(
        mine.owner, PRODUCTION_CONFIG.wallet_derivation
    )
    assert await fetch_owner(deployment, mine.address) == mine.owner
    await send_and_mine(deployment.rpc, [(local_account(mine.key), acting)])
    with pytest.raises(TransactionReverted):
        await send_and_mine(deployment.rpc, [(local_account(other.key), acting)])
    assert (await chain.fetch_balances(ANOTHER_WALLET)).collateral - before == 1_000_000


async def test_a_deposit_wallet_obeys_its_owner_only(deployment: Deployment) -> None:
    mine, other = await create_wallets(
        deployment,
        WalletKind.DEPOSIT,
        [paper_key("deposits", 0), paper_key("deposits", 1)],
        collateral=DOLLARS,
    )
    payment = encode_call("transfer(address,uint256)", ANOTHER_WALLET, 1)
    theft = Call(to=mine.address, data=encode_call("execute((address,bytes)[])", [(PUSD, payment)]))

    assert mine.address == derive_uups_deposit_wallet_address(
        mine.owner, PRODUCTION_CONFIG.wallet_derivation
    )
    assert await fetch_owner(deployment, mine.address) == mine.owner
    with pytest.raises(TransactionReverted):
        await send_and_mine(deployment.rpc, [(local_account(other.key), theft)])
    with pytest.raises(TransactionReverted):
        await send_and_mine(
            deployment.rpc,
            [
                (
                    local_account(other.key),
                    Call(to=mine.address, data=encode_call("initialize(address)", other.owner)),
                )
            ],
        )


async def test_many_wallets_are_created_in_one_call(deployment: Deployment) -> None:
    keys = [paper_key("many", index) for index in range(60)]

    wallets = await create_wallets(deployment, WalletKind.SAFE, keys, collateral=DOLLARS)

    read = await ChainClient(deployment.rpc).fetch_balances_by_wallet(
        [wallet.address for wallet in wallets]
    )
    assert [each.collateral for each in read.values()] == [DOLLARS] * 60
    assert all(each.conditional_tokens_approved >= {EXCHANGE_V2} for each in read.values())


async def test_only_the_admin_mints_and_nothing_is_initialized_twice(
    deployment: Deployment,
) -> None:
    (wallet,) = await create_wallets(
        deployment, WalletKind.EOA, [paper_key("mallory", 0)], collateral=DOLLARS
    )
    attempts = [
        (PUSD, encode_call("mint(address,uint256)", wallet.address, 1)),
        (PUSD, encode_call("mintEach(address[],uint256)", [wallet.address], 1)),
        (PUSD, encode_call("setPaused(bool)", True)),
        (PUSD, encode_call("setFailNext(uint256)", 1)),
        (PUSD, encode_call("initialize(address)", wallet.address)),
        (
            EXCHANGE_V2,
            encode_call(
                "initialize(string,address,address,address,address)",
                "2",
                PUSD,
                PUSD,
                wallet.address,
                wallet.address,
            ),
        ),
    ]

    refused = [
        answer.code if isinstance(answer, NodeRefused) else None
        for answer in await deployment.rpc.call_each(
            [
                (
                    "eth_call",
                    [{"from": wallet.address, "to": to, "data": "0x" + data.hex()}, "latest"],
                )
                for to, data in attempts
            ]
        )
    ]

    assert refused == [3] * len(attempts)  # 3: execution reverted
