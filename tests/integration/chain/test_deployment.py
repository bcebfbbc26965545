"""The local chain becomes ready once, with wallets and conditions that clients recognise."""

from dataclasses import replace
from pathlib import Path

import pytest
from eth_utils.crypto import keccak
from polymarket._internal.environment import PRODUCTION_CONFIG
from polymarket._internal.wallet import derive_safe_wallet_address, derive_uups_deposit_wallet_address

from services.paper_venue.chain.artifacts import Artifacts, MissingArtifact, load_artifacts
from services.paper_venue.chain.calldata import encode_call
from services.paper_venue.chain.conditions import deal_shares, prepare_condition, redeem_call, report_payouts
from services.paper_venue.chain.deployment import Deployment, deploy
from services.paper_venue.chain.sender import Call, TransactionReverted, local_account, send_and_mine
from services.paper_venue.chain.wallets import (
    create_deposit_wallets,
    create_eoa_wallets,
    create_safe_wallets,
    execute_from_safes,
    owner_of,
    paper_key,
)
from shared.chain.addresses import CONDITIONAL_TOKENS, EXCHANGE_V2, EXCHANGE_V3, PUSD, is_v3_position
from shared.chain.client import ChainClient
from shared.chain.safes import SafeTransaction
from tests.integration.chain.market import DOLLARS, SHARES, CreateWallets, PaperMarket

pytestmark = pytest.mark.integration

A_STRANGER = "0x" + "5a" * 20
both_versions = pytest.mark.parametrize("version", ["v1", "v2"])


async def test_a_chain_that_is_ready_stays_as_it_is(deployment: Deployment, rpc_url: str, artifacts: Artifacts) -> None:
    market = await PaperMarket.open(deployment)
    head, held = await market.chain.latest_block(), await market.held()

    again = await deploy(rpc_url, artifacts)

    assert await market.chain.latest_block() == head
    assert await market.held() == held
    await again.rpc.close()


async def test_a_chain_that_does_not_mine_by_itself_is_mined(deployment: Deployment) -> None:
    await deployment.rpc.call("evm_setAutomine", False)
    try:
        for create in (create_eoa_wallets, create_safe_wallets, create_deposit_wallets):
            (wallet,) = await create(deployment, [paper_key(f"by hand {create.__name__}", 0)], collateral=DOLLARS)
            assert (await ChainClient(deployment.rpc).balances_of(wallet.address)).conditional_tokens_approved == {EXCHANGE_V2}
    finally:
        await deployment.rpc.call("evm_setAutomine", True)


def test_missing_packages_are_named_with_their_remedy(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="install the stack's npm packages"):
        load_artifacts(tmp_path)


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_condition_has_the_token_ids_that_its_contract_gives(deployment: Deployment, version: str) -> None:
    condition = await prepare_condition(deployment, "0x" + keccak(text=f"ids {version}").hex(), version=version)

    await deal_shares(deployment, condition, [A_STRANGER], SHARES)

    read = await ChainClient(deployment.rpc).balances_of(A_STRANGER, [condition.yes_token, condition.no_token])
    assert read.shares_by_token == {condition.yes_token: SHARES, condition.no_token: SHARES}
    assert (is_v3_position(condition.yes_token), is_v3_position(condition.no_token)) == (version == "v2",) * 2
    assert await prepare_condition(deployment, condition.question_id, version=version) == condition


@both_versions
async def test_a_resolved_condition_pays_its_holders(deployment: Deployment, version: str) -> None:
    market = await PaperMarket.open(deployment, version=version)
    holder = market.traders[0]

    with pytest.raises(TransactionReverted):
        await send_and_mine(deployment.rpc, [(local_account(holder.key), redeem_call(market.condition))])
    await report_payouts(deployment, market.condition, yes=1, no=3)
    await send_and_mine(deployment.rpc, [(local_account(holder.key), redeem_call(market.condition))])

    redeemed = (await market.held())[0]
    assert (redeemed.usd, redeemed.yes, redeemed.no) == (DOLLARS + SHARES // 4 + SHARES * 3 // 4, 0, 0)
    with pytest.raises(TransactionReverted):
        await report_payouts(deployment, market.condition, yes=1, no=0)


@pytest.mark.parametrize("create", [create_eoa_wallets, create_safe_wallets, create_deposit_wallets])
async def test_a_new_wallet_has_money_and_has_approved_both_exchanges(deployment: Deployment, create: CreateWallets) -> None:
    (wallet,) = await create(deployment, [paper_key("new", 0)], collateral=DOLLARS)

    read = await ChainClient(deployment.rpc).balances_of(wallet.address)

    assert read.collateral == DOLLARS
    assert read.allowance_by_spender == {EXCHANGE_V2: 2**256 - 1, EXCHANGE_V3: 2**256 - 1}
    assert read.conditional_tokens_approved == {EXCHANGE_V2}
    assert read.position_manager_approved == {EXCHANGE_V3}


async def test_a_safe_stands_where_polymarket_client_looks_and_obeys_its_owner_only(deployment: Deployment) -> None:
    mine, other = await create_safe_wallets(deployment, [paper_key("obeys", 0), paper_key("obeys", 1)], collateral=DOLLARS)
    payment = SafeTransaction(to=PUSD, data=encode_call("transfer(address,uint256)", A_STRANGER, 1_000_000))
    thief = replace(mine, key=other.key)
    chain = ChainClient(deployment.rpc)
    before = (await chain.balances_of(A_STRANGER)).collateral

    assert mine.address == derive_safe_wallet_address(mine.owner, PRODUCTION_CONFIG.wallet_derivation)
    assert await owner_of(deployment, mine.address) == mine.owner
    assert await owner_of(deployment, mine.owner) is None
    assert await owner_of(deployment, CONDITIONAL_TOKENS) is None
    await execute_from_safes(deployment, [mine], payment)
    with pytest.raises(TransactionReverted):
        await execute_from_safes(deployment, [thief], payment)
    assert (await chain.balances_of(A_STRANGER)).collateral - before == 1_000_000
    assert (await chain.balances_of(mine.address)).collateral == DOLLARS - 1_000_000


async def test_a_deposit_wallet_obeys_its_owner_only(deployment: Deployment) -> None:
    mine, other = await create_deposit_wallets(deployment, [paper_key("deposits", 0), paper_key("deposits", 1)], collateral=DOLLARS)
    payment = encode_call("transfer(address,uint256)", A_STRANGER, 1)
    theft = Call(to=mine.address, data=encode_call("execute((address,bytes)[])", [(PUSD, payment)]))

    assert mine.address == derive_uups_deposit_wallet_address(mine.owner, PRODUCTION_CONFIG.wallet_derivation)
    assert await owner_of(deployment, mine.address) == mine.owner
    with pytest.raises(TransactionReverted):
        await send_and_mine(deployment.rpc, [(local_account(other.key), theft)])
    with pytest.raises(TransactionReverted):
        await send_and_mine(
            deployment.rpc, [(local_account(other.key), Call(to=mine.address, data=encode_call("initialize(address)", other.owner)))]
        )


async def test_many_wallets_are_made_at_once(deployment: Deployment) -> None:
    keys = [paper_key("many", index) for index in range(60)]

    wallets = await create_safe_wallets(deployment, keys, collateral=DOLLARS)

    read = await ChainClient(deployment.rpc).balances([wallet.address for wallet in wallets])
    assert [each.collateral for each in read.values()] == [DOLLARS] * 60
    assert all(each.conditional_tokens_approved == {EXCHANGE_V2} for each in read.values())


async def test_only_the_admin_mints_and_only_once_is_anything_initialized(deployment: Deployment) -> None:
    (wallet,) = await create_eoa_wallets(deployment, [paper_key("mallory", 0)], collateral=DOLLARS)
    attempts = [
        (PUSD, encode_call("mint(address,uint256)", wallet.address, 1)),
        (PUSD, encode_call("mintEach(address[],uint256)", [wallet.address], 1)),
        (PUSD, encode_call("setPaused(bool)", True)),
        (PUSD, encode_call("setFailNext(uint256)", 1)),
        (PUSD, encode_call("initialize(address)", wallet.address)),
        (EXCHANGE_V2, encode_call("initialize(string,address,address,address,address)", "2", PUSD, PUSD, wallet.address, wallet.address)),
    ]

    refused = [
        answer.get("error", {}).get("code")
        for answer in await deployment.rpc.batch(
            [("eth_call", [{"from": wallet.address, "to": to, "data": "0x" + data.hex()}, "latest"]) for to, data in attempts]
        )
    ]

    assert refused == [3] * len(attempts)  # 3: execution reverted
