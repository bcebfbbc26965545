"""Our addresses, compared with those of both client libraries."""

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st
from polymarket._internal.actions.relayer.approvals import _required_trading_approvals
from polymarket._internal.environment import PRODUCTION_CONFIG
from polymarket._internal.protocol import is_v2_position_id
from polymarket._internal.wallet import (
    derive_proxy_wallet_address,
    derive_safe_wallet_address,
    derive_uups_deposit_wallet_address,
)
from py_clob_client_v2.config import get_contract_config

from shared.chain import addresses
from shared.chain.deposit_wallets import deposit_wallet_address
from shared.chain.proxy_wallets import proxy_wallet_address
from shared.chain.safes import safe_address


def test_polymarket_client_uses_the_same_addresses() -> None:
    assert PRODUCTION_CONFIG.chain_id == addresses.POLYGON_CHAIN_ID
    assert PRODUCTION_CONFIG.collateral_token == addresses.PUSD
    assert PRODUCTION_CONFIG.conditional_tokens == addresses.CONDITIONAL_TOKENS
    assert PRODUCTION_CONFIG.position_manager == addresses.POSITION_MANAGER
    assert PRODUCTION_CONFIG.standard_exchange == addresses.EXCHANGE_V2
    assert PRODUCTION_CONFIG.neg_risk_exchange == addresses.NEG_RISK_EXCHANGE_V2
    assert PRODUCTION_CONFIG.exchange_v3 == addresses.EXCHANGE_V3
    assert PRODUCTION_CONFIG.safe_multisend == addresses.SAFE_MULTISEND


def test_polymarket_client_requires_the_same_approvals() -> None:
    erc20, erc1155 = _required_trading_approvals(PRODUCTION_CONFIG)

    assert [(each.token_address, each.spender) for each in erc20] == [
        (addresses.PUSD, each) for each in addresses.COLLATERAL_SPENDERS
    ]
    assert [(each.token_address, each.operator) for each in erc1155] == [
        (token, operator)
        for token, operators in addresses.SHARE_OPERATORS.items()
        for operator in operators
    ]
    assert len(erc20) + len(erc1155) == 17


def test_py_clob_client_v2_uses_the_same_addresses() -> None:
    config = get_contract_config(addresses.POLYGON_CHAIN_ID)

    assert config.collateral == addresses.PUSD
    assert config.conditional_tokens == addresses.CONDITIONAL_TOKENS
    assert (config.exchange, config.neg_risk_exchange) == addresses.V1_EXCHANGES
    assert (
        config.exchange_v2,
        config.neg_risk_exchange_v2,
        config.exchange_v3,
    ) == addresses.LIVE_EXCHANGES


@given(st.integers(1, 2**250))
def test_wallet_addresses_are_derived_as_polymarket_client_does(secret: int) -> None:
    owner = Account.from_key(secret.to_bytes(32, "big")).address

    assert proxy_wallet_address(owner) == derive_proxy_wallet_address(
        owner, PRODUCTION_CONFIG.wallet_derivation
    )
    assert safe_address(owner) == derive_safe_wallet_address(
        owner, PRODUCTION_CONFIG.wallet_derivation
    )
    assert deposit_wallet_address(owner) == derive_uups_deposit_wallet_address(
        owner, PRODUCTION_CONFIG.wallet_derivation
    )


@given(
    st.one_of(
        st.integers(0, 2**256 - 1),
        st.integers(0, 2**39),
        st.integers(1, 3).map(lambda module: module << 248 | 1 << 130),
    )
)
def test_the_exchange_version_of_a_token_is_the_one_that_polymarket_client_chooses(
    token_id: int,
) -> None:
    assert addresses.is_v3_position(token_id) == is_v2_position_id(str(token_id))


@pytest.mark.parametrize(
    ("token_id", "contract"),
    [
        (
            651150819117105875331414918119047680898421632356043490229292782433651916801,
            addresses.POSITION_MANAGER,
        ),
        (
            86164255047666698431561998962082153188795095073745805924860421733996839904761,
            addresses.CONDITIONAL_TOKENS,
        ),
    ],
)
def test_a_tokens_balance_is_read_from_the_contract_that_holds_it(
    token_id: int, contract: str
) -> None:
    assert addresses.positions_contract(token_id) == contract
