"""Creates paper wallets of every kind on the chain, funded and ready to trade."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from eth_typing import Hash32
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from services.paper_venue.chain.approvals import grant_all_approvals
from services.paper_venue.chain.calldata import encode_call
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.sender import (
    GAS_BALANCE_WEI,
    Call,
    local_account,
    send_and_mine,
)
from shared.chain.addresses import PUSD, SAFE_FALLBACK_HANDLER, SAFE_SINGLETON
from shared.chain.deposit_wallets import deposit_wallet_address
from shared.chain.orders import DEPOSIT_WALLET, EOA, POLY_PROXY, SAFE
from shared.chain.proxy_wallets import proxy_wallet_address
from shared.chain.rpc import Request
from shared.chain.safes import SafeTransaction, encode_exec, safe_address, safe_hash

_ZERO_ADDRESS = "0x" + "00" * 20
_SETUP = "setup(address[],uint256,address,bytes,address,address,uint256,address)"
_EXEC_GAS = 800_000


class WalletKind(StrEnum):
    """The kinds of wallets that hold a trader's money."""

    EOA = "eoa"
    PROXY = "proxy"
    SAFE = "safe"
    DEPOSIT = "deposit"


_DERIVATION: Final[Mapping[WalletKind, tuple[int, Callable[[str], str]]]] = {
    WalletKind.EOA: (EOA, lambda owner: owner),
    WalletKind.PROXY: (POLY_PROXY, proxy_wallet_address),
    WalletKind.SAFE: (SAFE, safe_address),
    WalletKind.DEPOSIT: (DEPOSIT_WALLET, deposit_wallet_address),
}
"""By kind: the signature type of its orders, and how clients derive a key's wallet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperWallet:
    """A wallet that trades: its own key's account (signature type 0), or a proxy wallet (1), Safe
    (2) or deposit wallet (3) of that key.
    """

    address: str
    owner: str
    signature_type: int
    key: str = field(repr=False)


def paper_key(seed: str, index: int) -> str:
    """The private key of a seeded paper account: always the same, and public by construction."""
    return "0x" + keccak(text=f"slipstream paper account {seed} {index}").hex()


async def create_wallets(
    deployment: Deployment, kind: WalletKind, keys: Sequence[str], *, collateral: int
) -> list[PaperWallet]:
    """Create each key's wallet where clients derive it, with ``collateral`` micro-pUSD and every
    approval that clients ask for.

    The keys get gas money. A wallet that exists already is funded again.
    Raises: TransactionReverted, Transient.
    """
    signature_type, derive = _DERIVATION[kind]
    owners = [local_account(key).address for key in keys]
    wallets = [
        PaperWallet(address=derive(owner), owner=owner, signature_type=signature_type, key=key)
        for key, owner in zip(keys, owners, strict=True)
    ]
    await fund_gas(deployment, owners)
    if kind is WalletKind.SAFE:
        await _place_safes(deployment, wallets)
    elif kind is not WalletKind.EOA:
        await _place_owned_wallets(
            deployment,
            wallets,
            deployment.proxy_wallet if kind is WalletKind.PROXY else deployment.deposit_wallet,
        )
    await grant_all_approvals(deployment, [wallet.address for wallet in wallets])
    await mint(deployment, [wallet.address for wallet in wallets], collateral)
    return wallets


async def execute_from_safes(
    deployment: Deployment, wallets: Sequence[PaperWallet], transaction: SafeTransaction
) -> None:
    """Let every Safe execute the transaction, signed and sent by its owner.

    Raises: TransactionReverted, Transient.
    """
    nonce_call = "0x" + encode_call("nonce()").hex()
    nonces = await deployment.rpc.call_batch(
        [("eth_call", [{"to": wallet.address, "data": nonce_call}, "latest"]) for wallet in wallets]
    )
    calls = []
    for wallet, nonce in zip(wallets, nonces, strict=True):
        owner = local_account(wallet.key)
        signature = owner.unsafe_sign_hash(
            Hash32(safe_hash(wallet.address, transaction, nonce=int(nonce, 16)))
        ).signature
        calls.append(
            (
                owner,
                Call(
                    to=wallet.address,
                    data=encode_exec(transaction, bytes(signature)),
                    gas=_EXEC_GAS,
                ),
            )
        )
    await send_and_mine(deployment.rpc, calls)


async def mint(deployment: Deployment, wallets: Sequence[str], amount: int) -> None:
    """Give each wallet ``amount`` micro-pUSD."""
    groups = [wallets[start : start + 200] for start in range(0, len(wallets), 200)]
    await deployment.admin.send(
        *(
            Call(
                to=PUSD,
                data=encode_call("mintEach(address[],uint256)", list(group), amount),
                gas=200_000 + 60_000 * len(group),
            )
            for group in groups
        )
    )


async def set_transfers_paused(deployment: Deployment, *, paused: bool) -> None:
    """Stop or resume every transfer of pUSD."""
    await deployment.admin.send(Call(to=PUSD, data=encode_call("setPaused(bool)", paused)))


async def fail_transfers(deployment: Deployment, *, blocks: int) -> None:
    """Let every transfer of pUSD in the next ``blocks`` blocks revert."""
    await deployment.admin.send(Call(to=PUSD, data=encode_call("setFailNext(uint256)", blocks)))


async def fetch_owner(deployment: Deployment, wallet: str) -> str | None:
    """Fetch the owner that signs for a contract wallet; None: it is not a wallet of ours, or has
    several owners. Raises: Transient.
    """
    owner_call = "owner()"
    call_by_code = {
        deployment.safe_proxy: "getOwners()",
        deployment.deposit_wallet: owner_call,
        deployment.proxy_wallet: owner_call,
    }
    code = await deployment.rpc.call("eth_getCode", wallet, "latest")
    if code not in call_by_code:
        return None
    answer = await deployment.rpc.call(
        "eth_call", {"to": wallet, "data": "0x" + encode_call(call_by_code[code]).hex()}, "latest"
    )
    words = bytes.fromhex(answer.removeprefix("0x"))
    is_one_owner = len(words) == (32 if call_by_code[code] == owner_call else 3 * 32)
    return to_checksum_address(words[-20:]) if is_one_owner else None


def encode_safe_setup(owner: str) -> bytes:
    """Encode the setup call that makes ``owner`` the only owner of a new Safe."""
    arguments = (
        [owner],
        1,
        _ZERO_ADDRESS,
        b"",
        SAFE_FALLBACK_HANDLER,
        _ZERO_ADDRESS,
        0,
        _ZERO_ADDRESS,
    )
    return encode_call(_SETUP, *arguments)


async def fund_gas(deployment: Deployment, addresses: Sequence[str]) -> None:
    """Give each address more gas money than it can spend."""
    await deployment.rpc.call_batch(
        [("anvil_setBalance", [address, GAS_BALANCE_WEI]) for address in addresses]
    )


async def _place_safes(deployment: Deployment, wallets: Sequence[PaperWallet]) -> None:
    new = await _without_code(deployment, wallets, deployment.safe_proxy)
    writes: list[Request] = []
    for wallet in new:
        writes.append(("anvil_setCode", [wallet.address, deployment.safe_proxy]))
        writes.append(
            (
                "anvil_setStorageAt",
                [wallet.address, "0x0", "0x" + SAFE_SINGLETON[2:].lower().rjust(64, "0")],
            )
        )
    await deployment.rpc.call_batch(writes)
    await send_and_mine(
        deployment.rpc, [(local_account(wallet.key), _build_setup_call(wallet)) for wallet in new]
    )


async def _place_owned_wallets(
    deployment: Deployment, wallets: Sequence[PaperWallet], code: str
) -> None:
    """Write the code of wallets whose first storage slot is their owner."""
    writes: list[Request] = []
    for wallet in await _without_code(deployment, wallets, code):
        writes.append(("anvil_setCode", [wallet.address, code]))
        writes.append(
            (
                "anvil_setStorageAt",
                [wallet.address, "0x0", "0x" + wallet.owner[2:].lower().rjust(64, "0")],
            )
        )
    await deployment.rpc.call_batch(writes)


async def _without_code(
    deployment: Deployment, wallets: Sequence[PaperWallet], code: str
) -> list[PaperWallet]:
    present = await deployment.rpc.call_batch(
        [("eth_getCode", [wallet.address, "latest"]) for wallet in wallets]
    )
    return [wallet for wallet, existing in zip(wallets, present, strict=True) if existing != code]


def _build_setup_call(wallet: PaperWallet) -> Call:
    return Call(to=wallet.address, data=encode_safe_setup(wallet.owner), gas=400_000)
