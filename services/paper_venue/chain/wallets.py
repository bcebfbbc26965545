"""How do paper wallets come to stand on the chain: funded, and approved by their own keys?"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from eth_typing import Hash32
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from services.paper_venue.chain.calldata import encode_call
from services.paper_venue.chain.deployment import POSITIONS_BY_EXCHANGE, Deployment
from services.paper_venue.chain.sender import PLENTY_OF_GAS_MONEY, Call, local_account, send_and_mine
from shared.chain.addresses import (
    PUSD,
    SAFE_FALLBACK_HANDLER,
    SAFE_MULTISEND,
    SAFE_SINGLETON,
)
from shared.chain.deposit_wallets import deposit_wallet_address
from shared.chain.orders import DEPOSIT_WALLET, EOA, SAFE
from shared.chain.rpc import Request
from shared.chain.safes import DELEGATE_CALL, SafeCall, SafeTransaction, encode_exec, encode_multisend, safe_address, safe_hash

UNLIMITED = 2**256 - 1
_NOBODY = "0x" + "00" * 20
_SETUP = "setup(address[],uint256,address,bytes,address,address,uint256,address)"
_EXEC_GAS = 800_000
_ALLOWED = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperWallet:
    """A wallet that trades: its own key's account (signature type 0), a Safe (2) or a deposit wallet (3) of that key."""

    address: str
    owner: str
    signature_type: int
    key: str = field(repr=False)


def paper_key(seed: str, index: int) -> str:
    """Return the private key of a seeded paper account: always the same one, and public by construction."""
    return "0x" + keccak(text=f"slipstream paper account {seed} {index}").hex()


async def create_eoa_wallets(deployment: Deployment, keys: Sequence[str], *, collateral: int) -> list[PaperWallet]:
    """Give each key's account gas money and ``collateral`` micro-pUSD, and let it approve both exchanges.

    Raises: TransactionReverted, Transient.
    """
    accounts = [local_account(key) for key in keys]
    await give_gas(deployment, [account.address for account in accounts])
    await mint(deployment, [account.address for account in accounts], collateral)
    await send_and_mine(deployment.rpc, [(account, call) for account in accounts for call in approvals()])
    return [
        PaperWallet(address=account.address, owner=account.address, signature_type=EOA, key=key)
        for key, account in zip(keys, accounts, strict=True)
    ]


async def create_safe_wallets(deployment: Deployment, keys: Sequence[str], *, collateral: int) -> list[PaperWallet]:
    """Place a Safe 1.3.0 where polymarket-client expects each key's, fund it, and let it approve both exchanges.

    A Safe that stands already is funded and approved again. Raises: TransactionReverted, Transient.
    """
    owners = [local_account(key) for key in keys]
    wallets = [
        PaperWallet(address=safe_address(owner.address), owner=owner.address, signature_type=SAFE, key=key)
        for key, owner in zip(keys, owners, strict=True)
    ]
    await give_gas(deployment, [owner.address for owner in owners])
    await _place_safes(deployment, wallets)
    await mint(deployment, [wallet.address for wallet in wallets], collateral)
    batch = encode_multisend([SafeCall(to=call.to, data=call.data) for call in approvals()])
    await execute_from_safes(deployment, wallets, SafeTransaction(to=SAFE_MULTISEND, data=batch, operation=DELEGATE_CALL))
    return wallets


async def create_deposit_wallets(deployment: Deployment, keys: Sequence[str], *, collateral: int) -> list[PaperWallet]:
    """Place a deposit wallet where polymarket-client expects each key's, fund it, and let it approve both exchanges.

    One that stands already is funded and approved again. Raises: TransactionReverted, Transient.
    """
    owners = [local_account(key) for key in keys]
    wallets = [
        PaperWallet(address=deposit_wallet_address(owner.address), owner=owner.address, signature_type=DEPOSIT_WALLET, key=key)
        for key, owner in zip(keys, owners, strict=True)
    ]
    await give_gas(deployment, [owner.address for owner in owners])
    new = await _without_code(deployment, wallets, deployment.deposit_wallet)
    await deployment.rpc.call_all([("anvil_setCode", [wallet.address, deployment.deposit_wallet]) for wallet in new])
    starts = [Call(to=wallet.address, data=encode_call("initialize(address)", wallet.owner)) for wallet in new]
    await send_and_mine(deployment.rpc, [(local_account(wallet.key), call) for wallet, call in zip(new, starts, strict=True)])
    await mint(deployment, [wallet.address for wallet in wallets], collateral)
    batch = encode_call("execute((address,bytes)[])", [(call.to, call.data) for call in approvals()])
    calls = [(owner, Call(to=wallet.address, data=batch, gas=_EXEC_GAS)) for owner, wallet in zip(owners, wallets, strict=True)]
    await send_and_mine(deployment.rpc, calls)
    return wallets


async def execute_from_safes(deployment: Deployment, wallets: Sequence[PaperWallet], transaction: SafeTransaction) -> None:
    """Let every Safe execute the transaction, signed and sent by its owner. Raises: TransactionReverted, Transient."""
    asked = "0x" + encode_call("nonce()").hex()
    nonces = await deployment.rpc.call_all([("eth_call", [{"to": wallet.address, "data": asked}, "latest"]) for wallet in wallets])
    calls = []
    for wallet, nonce in zip(wallets, nonces, strict=True):
        owner = local_account(wallet.key)
        signature = owner.unsafe_sign_hash(Hash32(safe_hash(wallet.address, transaction, nonce=int(nonce, 16)))).signature
        calls.append((owner, Call(to=wallet.address, data=encode_exec(transaction, bytes(signature)), gas=_EXEC_GAS)))
    await send_and_mine(deployment.rpc, calls)


async def mint(deployment: Deployment, wallets: Sequence[str], amount: int) -> None:
    """Give each wallet ``amount`` micro-pUSD."""
    groups = [wallets[start : start + 200] for start in range(0, len(wallets), 200)]
    await deployment.admin.send(
        *(
            Call(to=PUSD, data=encode_call("mintEach(address[],uint256)", list(group), amount), gas=200_000 + 60_000 * len(group))
            for group in groups
        )
    )


async def set_transfers_paused(deployment: Deployment, *, paused: bool) -> None:
    """Stop or resume every transfer of pUSD."""
    await deployment.admin.send(Call(to=PUSD, data=encode_call("setPaused(bool)", paused)))


async def fail_transfers(deployment: Deployment, *, blocks: int) -> None:
    """Let every transfer of pUSD in the next ``blocks`` blocks revert."""
    await deployment.admin.send(Call(to=PUSD, data=encode_call("setFailNext(uint256)", blocks)))


def approvals() -> list[Call]:
    """Return what a wallet has to send before it can trade on both exchanges."""
    calls = []
    for exchange, positions in POSITIONS_BY_EXCHANGE.items():
        calls.append(Call(to=PUSD, data=encode_call("approve(address,uint256)", exchange, UNLIMITED), gas=100_000))
        calls.append(Call(to=positions, data=encode_call("setApprovalForAll(address,bool)", exchange, _ALLOWED), gas=100_000))
    return calls


async def owner_of(deployment: Deployment, wallet: str) -> str | None:
    """Return the key that may sign for a Safe with one owner or a deposit wallet; ``None`` for any other address. Raises: Transient."""
    question = {deployment.safe_proxy: "getOwners()", deployment.deposit_wallet: "owner()"}
    code = await deployment.rpc.call("eth_getCode", wallet, "latest")
    if code not in question:
        return None
    answer = await deployment.rpc.call("eth_call", {"to": wallet, "data": "0x" + encode_call(question[code]).hex()}, "latest")
    words = bytes.fromhex(answer.removeprefix("0x"))
    is_one_owner = len(words) == (32 if code == deployment.deposit_wallet else 3 * 32)
    return to_checksum_address(words[-20:]) if is_one_owner else None


async def give_gas(deployment: Deployment, addresses: Sequence[str]) -> None:
    """Give each address more gas money than it can spend."""
    await deployment.rpc.call_all([("anvil_setBalance", [address, PLENTY_OF_GAS_MONEY]) for address in addresses])


async def _place_safes(deployment: Deployment, wallets: Sequence[PaperWallet]) -> None:
    new = await _without_code(deployment, wallets, deployment.safe_proxy)
    writes: list[Request] = []
    for wallet in new:
        writes.append(("anvil_setCode", [wallet.address, deployment.safe_proxy]))
        writes.append(("anvil_setStorageAt", [wallet.address, "0x0", "0x" + SAFE_SINGLETON[2:].lower().rjust(64, "0")]))
    await deployment.rpc.call_all(writes)
    await send_and_mine(deployment.rpc, [(local_account(wallet.key), _setup(wallet)) for wallet in new])


async def _without_code(deployment: Deployment, wallets: Sequence[PaperWallet], code: str) -> list[PaperWallet]:
    present = await deployment.rpc.call_all([("eth_getCode", [wallet.address, "latest"]) for wallet in wallets])
    return [wallet for wallet, found in zip(wallets, present, strict=True) if found != code]


def _setup(wallet: PaperWallet) -> Call:
    arguments = ([wallet.owner], 1, _NOBODY, b"", SAFE_FALLBACK_HANDLER, _NOBODY, 0, _NOBODY)
    return Call(to=wallet.address, data=encode_call(_SETUP, *arguments), gas=400_000)
