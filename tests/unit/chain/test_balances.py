"""Many wallets are read in one request, by the same bytes as eth_abi would make, and each wallet
fails alone.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from shared.chain.addresses import CONDITIONAL_TOKENS, LIVE_EXCHANGES, POSITION_MANAGER, PUSD
from shared.chain.client import ChainClient
from shared.chain.rpc import Request, Rpc
from shared.chain.snapshot_code import SNAPSHOT_CREATION_CODE
from shared.chain.wallet_balances import WalletBalances
from shared.domain.errors import Transient

BLOCK = 77
WALLETS = [to_checksum_address(f"0x{number:040x}") for number in range(1, 41)]
TOKEN, V3_TOKEN = 10**70, 5 << 104 | 7


class Node(Rpc):
    """Answers snapshots: what a wallet has is its own address as a number; it is mute about
    ``mute``.
    """

    def __init__(self, mute: str = "") -> None:
        super().__init__("http://127.0.0.1:1")
        self.mute = mute
        self.requests: list[list[list[tuple[str, bytes]]]] = []

    async def call_batch(self, requests: Sequence[Request]) -> list[Any]:
        snapshots: list[list[tuple[str, bytes]]] = []
        for method, (call, block) in requests:
            assert (method, block) == ("eth_call", "latest")
            code, argument = (
                call["data"][: len(SNAPSHOT_CREATION_CODE)],
                call["data"][len(SNAPSHOT_CREATION_CODE) :],
            )
            (calls,) = decode(["(address,bytes)[]"], bytes.fromhex(argument))
            assert code == SNAPSHOT_CREATION_CODE
            assert bytes.fromhex(argument) == encode(["(address,bytes)[]"], [calls])
            snapshots.append(
                [(to_checksum_address(contract), bytes(asked)) for contract, asked in calls]
            )
        self.requests.append(snapshots)
        return [
            "0x"
            + encode(["uint256", "bytes[]"], [BLOCK, [self.answer(*call) for call in calls]]).hex()
            for calls in snapshots
        ]

    def answer(self, contract: str, asked: bytes) -> bytes:
        if asked[:4].hex() == "4e1273f4":  # balanceOfBatch
            owners, tokens = decode(["address[]", "uint256[]"], asked[4:])
            assert contract == (POSITION_MANAGER if V3_TOKEN in tokens else CONDITIONAL_TOKENS)
            return encode(["uint256[]"], [[int(owner, 16) * 2 for owner in owners]])
        (owner,) = decode(["address"], asked[4:36])
        if to_checksum_address(owner) == self.mute:
            return b""
        return asked[4:36] if contract == PUSD else encode(["bool"], [int(owner, 16) % 2 == 1])


def has(wallet: str, *tokens: int) -> WalletBalances:
    number = int(wallet, 16)
    approved = frozenset(LIVE_EXCHANGES if number % 2 else ())
    return WalletBalances(
        wallet=wallet,
        block_number=BLOCK,
        collateral=number,
        allowance_by_spender=dict.fromkeys(LIVE_EXCHANGES, number),
        shares_by_token=dict.fromkeys(tokens, number * 2),
        conditional_tokens_approved=approved,
        position_manager_approved=approved,
    )


def client(node: Node) -> ChainClient:
    return ChainClient(node, spenders=LIVE_EXCHANGES)


@given(
    asked=st.lists(
        st.tuples(st.sampled_from(WALLETS), st.sampled_from([(), (TOKEN,), (TOKEN, V3_TOKEN)])),
        max_size=60,
    )
)
async def test_wallets_with_tokens_of_their_own_are_read_in_one_request(
    asked: list[tuple[str, tuple[int, ...]]],
) -> None:
    node = Node()

    found = await client(node).fetch_balances_or_failures(asked)

    assert found == [has(wallet, *tokens) for wallet, tokens in asked]
    assert len(node.requests) == 1
    assert all(len(snapshot) <= 100 for snapshot in node.requests[0])


async def test_a_wallet_that_cannot_be_read_fails_alone() -> None:
    mute, *others = WALLETS[:4]

    found = await client(Node(mute)).fetch_balances_or_failures(
        [(wallet, ()) for wallet in (mute, *others)]
    )

    assert isinstance(found[0], Transient)
    assert found[1:] == [has(wallet) for wallet in others]


async def test_who_asks_for_all_is_told_that_one_of_them_could_not_be_read() -> None:
    with pytest.raises(Transient, match="did not return"):
        await client(Node(WALLETS[2])).fetch_balances_by_wallet(WALLETS[:4])
