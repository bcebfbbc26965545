"""What does the chain say, at one block, about wallets, fills, transactions and itself?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from shared.chain.addresses import CONDITIONAL_TOKENS, EXCHANGE_V2, EXCHANGE_V3, LIVE_EXCHANGES, POSITION_MANAGER, PUSD, positions_contract
from shared.chain.logs import OrderFilledLog, decode_order_fills, maker_topics
from shared.chain.rpc import NodeRefused, Rpc
from shared.chain.snapshot_code import SNAPSHOT_CREATION_CODE
from shared.domain.errors import Transient

# Creation code may be 49,152 bytes (EIP-3860), also in eth_call; a call takes 224 to 256 of them, a token id 64.
_CALLS_PER_SNAPSHOT = 100
_TOKENS_PER_CALL = 300
_HEADER_ONLY = False
_BALANCE_OF = keccak(text="balanceOf(address)")[:4]
_ALLOWANCE = keccak(text="allowance(address,address)")[:4]
_BALANCE_OF_BATCH = keccak(text="balanceOfBatch(address[],uint256[])")[:4]
_IS_APPROVED = keccak(text="isApprovedForAll(address,address)")[:4]

ViewCall = tuple[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletBalances:
    """What a wallet holds and has allowed, all read at the same block."""

    wallet: str
    block_number: int
    collateral: int
    """micro-pUSD."""
    allowance_by_spender: dict[str, int]
    """micro-pUSD that a spender may take; 2**256 - 1 is without limit."""
    shares_by_token: dict[int, int]
    """Micro-shares per asked token id."""
    conditional_tokens_approved: frozenset[str]
    """Spenders that may move the wallet's ConditionalTokens (V2 markets)."""
    position_manager_approved: frozenset[str]
    """Spenders that may move the wallet's PositionManager positions (V3 markets)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    number: int
    hash: str
    parent_hash: str
    timestamp: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    tx_hash: str
    block_number: int
    block_hash: str
    succeeded: bool
    gas_used: int
    logs: tuple[dict[str, Any], ...]
    """As JSON-RPC gives them; `shared.chain.logs` decodes the exchanges'."""


class ChainClient:
    """Reads of the chain for services. Every method raises Transient when the node fails: never a zero, never an empty list."""

    def __init__(self, rpc: Rpc, *, spenders: Sequence[str] = (EXCHANGE_V2, EXCHANGE_V3), block_span: int = 2_000) -> None:
        """``spenders``: whose allowances and approvals are read. ``block_span``: how many blocks eth_getLogs is first asked for."""
        self._rpc = rpc
        self._spenders = tuple(spenders)
        self._block_span = block_span

    async def balances_of(self, proxy: str, token_ids: Sequence[int] = ()) -> WalletBalances:
        """Read one wallet at one block in one round trip."""
        return (await self.balances([proxy], token_ids))[proxy]

    async def balances(self, wallets: Sequence[str], token_ids: Sequence[int] = ()) -> dict[str, WalletBalances]:
        """Read many wallets in one round trip: each wallet at one block, several wallets perhaps at neighbouring ones."""
        if len(token_ids) > _TOKENS_PER_CALL:
            raise ValueError(f"at most {_TOKENS_PER_CALL} token ids per read, got {len(token_ids)}")
        plan = _WalletReading(self._spenders, tuple(token_ids))
        group = max(1, _CALLS_PER_SNAPSHOT // plan.size)
        if token_ids:
            group = max(1, min(group, _TOKENS_PER_CALL // len(token_ids)))
        groups = [wallets[start : start + group] for start in range(0, len(wallets), group)]
        snapshots = await self._snapshots([[call for wallet in some for call in plan.calls(wallet)] for some in groups])
        found: dict[str, WalletBalances] = {}
        for some, (block_number, answers) in zip(groups, snapshots, strict=True):
            for index, wallet in enumerate(some):
                found[wallet] = plan.parse(wallet, block_number, answers[index * plan.size : (index + 1) * plan.size])
        return found

    async def snapshot(self, calls: Sequence[ViewCall]) -> tuple[int, list[bytes]]:
        """Return the block number and the answer of each view call at it. A call that reverted, or met no contract, answers empty."""
        return (await self._snapshots([calls]))[0]

    async def fetch_order_fills(
        self, from_block: int, to_block: int, makers: Sequence[str], exchanges: Sequence[str] = LIVE_EXCHANGES
    ) -> list[OrderFilledLog]:
        """Return these wallets' fills in both blocks and between, in chain order.

        Asks in spans of blocks, halving a span that the node refuses. Raises: Transient, also when the node has not seen ``to_block``.
        """
        fills: list[OrderFilledLog] = []
        start, span = from_block, self._block_span
        while makers and start <= to_block:
            end = min(start + span - 1, to_block)
            try:
                fills += await self._fills_between(start, end, makers, exchanges)
            except NodeRefused:
                if end == start:
                    raise
                span = max(1, (end - start + 1) // 2)
            else:
                start = end + 1
        return fills

    async def latest_block(self) -> Block:
        return _block(await self._rpc.call("eth_getBlockByNumber", "latest", _HEADER_ONLY))

    async def finalized_block(self) -> Block:
        return _block(await self._rpc.call("eth_getBlockByNumber", "finalized", _HEADER_ONLY))

    async def blocks(self, numbers: Sequence[int]) -> list[Block]:
        """Return the canonical blocks at these heights in one round trip, in order. Raises: Transient above the head."""
        answers = await self._rpc.call_all([("eth_getBlockByNumber", [hex(number), _HEADER_ONLY]) for number in numbers])
        return [_block(answer) for answer in answers]

    async def block_hash(self, number: int) -> str | None:
        """Return the canonical hash at this height now; ``None`` above the head."""
        block = await self._rpc.call("eth_getBlockByNumber", hex(number), _HEADER_ONLY)
        return None if block is None else str(block["hash"])

    async def block_hashes(self, numbers: Sequence[int]) -> dict[int, str | None]:
        """Return the canonical hashes at these heights now, in one round trip; ``None`` above the head."""
        answers = await self._rpc.call_all([("eth_getBlockByNumber", [hex(number), _HEADER_ONLY]) for number in numbers])
        return {number: None if answer is None else str(answer["hash"]) for number, answer in zip(numbers, answers, strict=True)}

    async def receipt(self, tx_hash: str) -> Receipt | None:
        """Return the receipt; ``None`` while no canonical block that the node knows holds the transaction."""
        return (await self.receipts([tx_hash]))[0]

    async def receipts(self, tx_hashes: Sequence[str]) -> list[Receipt | None]:
        """Return the receipts in one round trip, in order."""
        answers = await self._rpc.call_all([("eth_getTransactionReceipt", [tx_hash]) for tx_hash in tx_hashes])
        return [None if answer is None else _receipt(answer) for answer in answers]

    async def close(self) -> None:
        await self._rpc.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _fills_between(self, start: int, end: int, makers: Sequence[str], exchanges: Sequence[str]) -> list[OrderFilledLog]:
        wanted = {"fromBlock": hex(start), "toBlock": hex(end), "address": list(exchanges), "topics": maker_topics(makers)}
        # Behind a load balancer the node asked for logs may lag the one that told us the head: then it answers "none" in good faith.
        head, logs = await self._rpc.call_all([("eth_blockNumber", []), ("eth_getLogs", [wanted])])
        if int(head, 16) < end:
            raise Transient(f"the node is at block {int(head, 16)}, before {end}")
        return decode_order_fills(logs)

    async def _snapshots(self, groups: Sequence[Sequence[ViewCall]]) -> list[tuple[int, list[bytes]]]:
        requests = [("eth_call", [{"data": _snapshot_code(calls)}, "latest"]) for calls in groups]
        answers = await self._rpc.call_all(requests)
        return [_snapshot_answers(answer, len(calls)) for calls, answer in zip(groups, answers, strict=True)]


class _WalletReading:
    """The calls that read one wallet, and what their answers mean."""

    def __init__(self, spenders: tuple[str, ...], token_ids: tuple[int, ...]) -> None:
        self._spenders = spenders
        self._tokens_by_contract = {
            contract: [token for token in token_ids if positions_contract(token) == contract]
            for contract in dict.fromkeys(positions_contract(token) for token in token_ids)
        }
        self.size = 1 + 3 * len(spenders) + len(self._tokens_by_contract)

    def calls(self, wallet: str) -> list[ViewCall]:
        calls = [(PUSD, _BALANCE_OF + encode(["address"], [wallet]))]
        for spender in self._spenders:
            pair = encode(["address", "address"], [wallet, spender])
            calls += [(PUSD, _ALLOWANCE + pair), (CONDITIONAL_TOKENS, _IS_APPROVED + pair), (POSITION_MANAGER, _IS_APPROVED + pair)]
        for contract, tokens in self._tokens_by_contract.items():
            calls.append((contract, _BALANCE_OF_BATCH + encode(["address[]", "uint256[]"], [[wallet] * len(tokens), tokens])))
        return calls

    def parse(self, wallet: str, block_number: int, answers: Sequence[bytes]) -> WalletBalances:
        per_spender = list(zip(self._spenders, zip(*[iter(answers[1 : 1 + 3 * len(self._spenders)])] * 3, strict=True), strict=True))
        shares: dict[int, int] = {}
        for tokens, answer in zip(self._tokens_by_contract.values(), answers[1 + 3 * len(self._spenders) :], strict=True):
            shares.update(zip(tokens, _decoded("uint256[]", answer, "ERC-1155 balances"), strict=True))
        return WalletBalances(
            wallet=wallet,
            block_number=block_number,
            collateral=_decoded("uint256", answers[0], "the pUSD balance"),
            allowance_by_spender={spender: _decoded("uint256", reply[0], "a pUSD allowance") for spender, reply in per_spender},
            shares_by_token=shares,
            conditional_tokens_approved=_approved(per_spender, 1),
            position_manager_approved=_approved(per_spender, 2),
        )


def _approved(per_spender: Iterable[tuple[str, Sequence[bytes]]], index: int) -> frozenset[str]:
    return frozenset(spender for spender, reply in per_spender if _decoded("bool", reply[index], "an ERC-1155 approval"))


def _decoded(kind: str, answer: bytes, what: str) -> Any:
    try:
        return decode([kind], answer)[0]
    except DecodingError as error:
        raise Transient(f"the chain did not tell {what}") from error


def _snapshot_code(calls: Sequence[ViewCall]) -> str:
    return SNAPSHOT_CREATION_CODE + encode(["(address,bytes)[]"], [calls]).hex()


def _snapshot_answers(answer: str, expected: int) -> tuple[int, list[bytes]]:
    try:
        block_number, answers = decode(["uint256", "bytes[]"], bytes.fromhex(answer.removeprefix("0x")))
    except DecodingError as error:
        raise Transient("the chain node did not run the snapshot") from error
    if len(answers) != expected:
        raise Transient(f"the snapshot holds {len(answers)} of {expected} answers")
    return block_number, list(answers)


def _block(answer: dict[str, Any] | None) -> Block:
    if answer is None:
        raise Transient("the chain node does not know the block")
    return Block(
        number=int(answer["number"], 16), hash=answer["hash"], parent_hash=answer["parentHash"], timestamp=int(answer["timestamp"], 16)
    )


def _receipt(answer: dict[str, Any]) -> Receipt:
    return Receipt(
        tx_hash=answer["transactionHash"],
        block_number=int(answer["blockNumber"], 16),
        block_hash=answer["blockHash"],
        succeeded=int(answer["status"], 16) == 1,
        gas_used=int(answer["gasUsed"], 16),
        logs=tuple(answer["logs"]),
    )
