"""Deploys the venue's contracts on the local chain, unless they are there already."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from services.paper_venue.chain.artifacts import Artifacts
from services.paper_venue.chain.calldata import encode_call
from services.paper_venue.chain.sender import GAS_BALANCE_WEI, Call, Sender, local_account
from shared.chain.addresses import (
    CONDITIONAL_TOKENS,
    EXCHANGE_V2,
    EXCHANGE_V3,
    NEG_RISK_EXCHANGE_V2,
    POLYGON_CHAIN_ID,
    POSITION_MANAGER,
    PUSD,
    SAFE_FALLBACK_HANDLER,
    SAFE_MULTISEND,
    SAFE_SINGLETON,
    SECOND_NEG_RISK_EXCHANGE_V2,
)
from shared.chain.orders import DOMAIN_VERSION_BY_EXCHANGE
from shared.chain.rpc import Request, Rpc

POSITIONS_BY_EXCHANGE = {
    EXCHANGE_V2: CONDITIONAL_TOKENS,
    NEG_RISK_EXCHANGE_V2: CONDITIONAL_TOKENS,
    SECOND_NEG_RISK_EXCHANGE_V2: CONDITIONAL_TOKENS,
    EXCHANGE_V3: POSITION_MANAGER,
}
FEE_RECEIVER = to_checksum_address(keccak(text="slipstream paper venue: fees")[-20:])

# Local paper money only: these keys are public on purpose.
_ADMIN_KEY = "0x" + keccak(text="slipstream paper venue: admin").hex()
_OPERATOR_KEY = "0x" + keccak(text="slipstream paper venue: operator").hex()
_INITIALIZE_EXCHANGE = "initialize(string,address,address,address,address)"


class ForeignChain(Exception):
    """The node is not a local chain that we may write to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A chain that is ready to trade on."""

    rpc: Rpc
    admin: Sender
    """Mints pUSD, prepares and resolves conditions, distributes shares."""
    operator: LocalAccount = field(repr=False)
    """Sends matchOrders. Nothing else may use its nonces."""
    safe_proxy: str = field(repr=False)
    """Runtime bytecode of a Safe's proxy."""
    deposit_wallet: str = field(repr=False)
    """Runtime bytecode of a deposit wallet."""
    proxy_wallet: str = field(repr=False)
    """Runtime bytecode of a proxy wallet."""


async def deploy(rpc_url: str, artifacts: Artifacts) -> Deployment:
    """Place and initialize the contracts; a chain that is ready already stays as it is.

    Raises: ForeignChain, TransactionReverted, Transient.
    """
    async with AsyncExitStack() as closed_if_failed:
        rpc = Rpc(rpc_url, timeout_s=60)
        closed_if_failed.push_async_callback(rpc.close)
        await require_local(rpc)
        await _place_code(rpc, _code_by_address(artifacts))
        deployment = Deployment(
            rpc=rpc,
            admin=Sender(rpc, local_account(_ADMIN_KEY)),
            operator=local_account(_OPERATOR_KEY),
            safe_proxy=artifacts.safe_proxy,
            deposit_wallet=artifacts.deposit_wallet,
            proxy_wallet=artifacts.proxy_wallet,
        )
        await _initialize(deployment)
        closed_if_failed.pop_all()
    return deployment


class Node(Protocol):
    """A JSON-RPC node."""

    async def call_batch(self, requests: Sequence[Request]) -> list[Any]: ...


async def require_local(rpc: Node) -> None:
    """Refuse any node but an anvil with Polygon's chain id, for which clients sign.

    Raises: ForeignChain.
    """
    client, chain_id = await rpc.call_batch([("web3_clientVersion", []), ("eth_chainId", [])])
    if not client.lower().startswith("anvil"):
        raise ForeignChain(
            f"the paper venue only writes to an anvil of its own; this node is {client!r}"
        )
    if int(chain_id, 16) != POLYGON_CHAIN_ID:
        raise ForeignChain(
            f"start anvil with --chain-id {POLYGON_CHAIN_ID}: clients sign for it;"
            f" this chain is {int(chain_id, 16)}"
        )


async def _place_code(rpc: Rpc, code_by_address: Mapping[str, str]) -> None:
    present = await rpc.call_batch(
        [("eth_getCode", [address, "latest"]) for address in code_by_address]
    )
    if present != list(code_by_address.values()):
        await rpc.call_batch(
            [("anvil_setCode", [address, code]) for address, code in code_by_address.items()]
        )


async def _initialize(deployment: Deployment) -> None:
    """Send the initialization calls that are missing according to the contracts' state."""
    operator, admin = deployment.operator.address, deployment.admin.address
    steps = _initialization(operator, admin)
    answers = await deployment.rpc.call_batch(
        [("eth_call", [{"to": to, "data": "0x" + data.hex()}, "latest"]) for to, data, _ in steps]
    )
    missing = [
        call for answer, (_, _, call) in zip(answers, steps, strict=True) if int(answer, 16) == 0
    ]
    if missing:
        await deployment.rpc.call_batch(
            [("anvil_setBalance", [address, GAS_BALANCE_WEI]) for address in (operator, admin)]
        )
        await deployment.admin.send(*missing)


def _initialization(operator: str, admin: str) -> list[tuple[str, bytes, Call]]:
    """The steps: a contract, a view call that returns zero until the step is done, and the call
    that does it.
    """
    steps = [
        (
            PUSD,
            encode_call("operator()"),
            Call(to=PUSD, data=encode_call("initialize(address)", admin)),
        ),
        (
            POSITION_MANAGER,
            encode_call("collateral()"),
            Call(to=POSITION_MANAGER, data=encode_call("initialize(address)", PUSD)),
        ),
    ]
    for exchange, version in DOMAIN_VERSION_BY_EXCHANGE.items():
        arguments = (version, PUSD, POSITIONS_BY_EXCHANGE[exchange], operator, FEE_RECEIVER)
        steps.append(
            (
                exchange,
                encode_call("domainSeparator()"),
                Call(to=exchange, data=encode_call(_INITIALIZE_EXCHANGE, *arguments)),
            )
        )
    for positions in (CONDITIONAL_TOKENS, POSITION_MANAGER):
        allowance = encode_call("allowance(address,address)", admin, positions)
        steps.append(
            (
                PUSD,
                allowance,
                Call(to=PUSD, data=encode_call("approve(address,uint256)", positions, 2**256 - 1)),
            )
        )
    return steps


def _code_by_address(artifacts: Artifacts) -> dict[str, str]:
    return {
        PUSD: artifacts.paper_usd,
        CONDITIONAL_TOKENS: artifacts.conditional_tokens,
        POSITION_MANAGER: artifacts.position_manager,
        EXCHANGE_V2: artifacts.exchange,
        NEG_RISK_EXCHANGE_V2: artifacts.exchange,
        SECOND_NEG_RISK_EXCHANGE_V2: artifacts.exchange,
        EXCHANGE_V3: artifacts.exchange,
        SAFE_SINGLETON: artifacts.safe_singleton,
        SAFE_FALLBACK_HANDLER: artifacts.safe_fallback_handler,
        SAFE_MULTISEND: artifacts.safe_multisend,
    }
