"""Many wallets are read in one request, encoded as eth_abi does, and each wallet fails alone."""

from collections.abc import Sequence
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from shared.chain.addresses import CONDITIONAL_TOKENS, LIVE_EXCHANGES, POSITION_MANAGER, PUSD
from shared.chain.blocks import Block
from shared.chain.client import ChainClient
from shared.chain.rpc import Request, Rpc
from shared.chain.snapshot_code import SNAPSHOT_CREATION_CODE
from shared.chain.wallet_balances import WalletBalances
from shared.domain.errors import Transient

BLOCK = 77
WALLETS = [to_checksum_address(f"0x{number:040x}") for number in range(1, 41)]
TOKEN, V3_TOKEN = 10**70, 5 << 104 | 7


class Node(Rpc):
    """Answers snapshots: a wallet holds its own address as a number; ``unreadable`` fails."""

    def __init__(self, unreadable: str = "") -> None:
        super().__init__("http://127.0.0.1:1")
        self.unreadable = unreadable
        self.requests: list[list[list[tuple[str, bytes]]]] = []

    async def call_batch(
        self, requests: Sequence[Request], *, seen_block: int | Block | None = None
    ) -> list[Any]:
        assert seen_block is None
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
                [(to_checksum_address(contract), bytes(calldata)) for contract, calldata in calls]
            )
        self.requests.append(snapshots)
        return [
            "0x"
            + encode(["uint256", "bytes[]"], [BLOCK, [self.answer(*call) for call in calls]]).hex()
            for calls in snapshots
        ]

    def answer(self, contract: str, calldata: bytes) -> bytes:
        if calldata[:4].hex() == "4e1273f4":  # balanceOfBatch
            owners, tokens = decode(["address[]", "uint256[]"], calldata[4:])
            assert contract == (POSITION_MANAGER if V3_TOKEN in tokens else CONDITIONAL_TOKENS)
            return encode(["uint256[]"], [[int(owner, 16) * 2 for owner in owners]])
        (owner,) = decode(["address"], calldata[4:36])
        if to_checksum_address(owner) == self.unreadable:
            return b""
        return calldata[4:36] if contract == PUSD else encode(["bool"], [int(owner, 16) % 2 == 1])


def build_balances(wallet: str, *tokens: int) -> WalletBalances:
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


def build_client(node: Node) -> ChainClient:
    return ChainClient(node, spenders=LIVE_EXCHANGES)


@given(
    queries=st.lists(
        st.tuples(st.sampled_from(WALLETS), st.sampled_from([(), (TOKEN,), (TOKEN, V3_TOKEN)])),
        max_size=60,
    )
)
async def test_wallets_with_different_tokens_are_read_in_one_request(
    queries: list[tuple[str, tuple[int, ...]]],
) -> None:
    node = Node()

    results = await build_client(node).fetch_balances_or_failures(queries)

    assert results == [build_balances(wallet, *tokens) for wallet, tokens in queries]
    assert len(node.requests) == 1
    assert all(len(snapshot) <= 100 for snapshot in node.requests[0])


async def test_an_unreadable_wallet_fails_alone() -> None:
    unreadable, *others = WALLETS[:4]

    results = await build_client(Node(unreadable)).fetch_balances_or_failures(
        [(wallet, ()) for wallet in (unreadable, *others)]
    )

    assert isinstance(results[0], Transient)
    assert results[1:] == [build_balances(wallet) for wallet in others]


async def test_reading_all_wallets_fails_where_one_is_unreadable() -> None:
    with pytest.raises(Transient, match="did not return"):
        await build_client(Node(WALLETS[2])).fetch_balances_by_wallet(WALLETS[:4])


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_wallet_whose_contract_answers_for_other_tokens_fails_alone(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    node = Node()
    answer = node.answer

    def answer_wrongly(contract: str, calldata: bytes) -> bytes:
        if calldata[:4].hex() == "4e1273f4":  # balanceOfBatch
            return encode(["uint256[]"], [[7] * count])
        return answer(contract, calldata)

    monkeypatch.setattr(node, "answer", answer_wrongly)

    with_tokens, without = await build_client(node).fetch_balances_or_failures(
        [(WALLETS[0], (TOKEN, TOKEN + 1)), (WALLETS[1], ())]
    )

    assert isinstance(with_tokens, Transient)
    assert without == build_balances(WALLETS[1])


async def test_more_than_anybody_has_is_no_balance(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    monkeypatch.setattr(node, "answer", lambda *_: (2**200).to_bytes(32))

    (failure,) = await build_client(node).fetch_balances_or_failures([(WALLETS[0], ())])

    assert isinstance(failure, Transient)
