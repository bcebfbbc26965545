"""What does the chain say, at one block, about wallets, fills, transactions and itself?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import TracebackType
from typing import Any, Self

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from shared.chain.addresses import (
    CONDITIONAL_TOKENS,
    EXCHANGE_V2,
    EXCHANGE_V3,
    LIVE_EXCHANGES,
    POSITION_MANAGER,
    PUSD,
    positions_contract,
)
from shared.chain.logs import OrderFilledLog, decode_order_fills, maker_topics
from shared.chain.rpc import NodeRefused, Rpc
from shared.chain.snapshot_code import SNAPSHOT_CREATION_CODE
from shared.domain.errors import Transient

# Creation code may be 49,152 bytes (EIP-3860), also in eth_call; a call takes 224 to 256 of them, a
# token id 64.
_CALLS_PER_SNAPSHOT = 100
_TOKENS_PER_CALL = 300
_HEADER_ONLY = False
WORD = 32
"""Bytes that the EVM's numbers and addresses take."""
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
    """Reads of the chain for services. Every method raises Transient when the node fails: never a
    zero, never an empty list.
    """

    def __init__(
        self,
        rpc: Rpc,
        *,
        spenders: Sequence[str] = (EXCHANGE_V2, EXCHANGE_V3),
        block_span: int = 2_000,
    ) -> None:
        """``spenders``: whose allowances and approvals are read. ``block_span``: how many blocks
        eth_getLogs is first asked for.
        """
        self._rpc = rpc
        self._spenders = tuple(spenders)
        self._block_span = block_span

    async def fetch_balances(self, proxy: str, token_ids: Sequence[int] = ()) -> WalletBalances:
        """Read one wallet at one block in one round trip."""
        return (await self.fetch_balances_of_all([proxy], token_ids))[proxy]

    async def fetch_balances_of_all(
        self, wallets: Sequence[str], token_ids: Sequence[int] = ()
    ) -> dict[str, WalletBalances]:
        """Read many wallets in one round trip: each wallet at one block, several wallets perhaps at
        neighbouring ones.
        """
        found = await self.fetch_balances_each([(wallet, tuple(token_ids)) for wallet in wallets])
        return dict(zip(wallets, map(_had, found), strict=True))

    async def fetch_balances_each(
        self, asked: Sequence[tuple[str, tuple[int, ...]]]
    ) -> list[WalletBalances | Transient]:
        """The same for wallets with token ids of their own: what of a wallet could not be read is
        its failure alone.

        Raises: Transient where none could be read.
        """
        readings = [
            _WalletReading(self._spenders, wallet, token_ids) for wallet, token_ids in asked
        ]
        groups = list(_snapshots_of(readings))
        snapshots = await self._snapshots(
            [[call for reading in group for call in reading.calls()] for group in groups]
        )
        found: list[WalletBalances | Transient] = []
        for group, (block_number, answers) in zip(groups, snapshots, strict=True):
            left = iter(answers)
            found += [
                _tried(reading, block_number, [next(left) for _ in range(reading.size)])
                for reading in group
            ]
        return found

    async def fetch_snapshot(self, calls: Sequence[ViewCall]) -> tuple[int, list[bytes]]:
        """Return the block number and the answer of each view call at it. A call that reverted, or
        met no contract, answers empty.
        """
        return (await self._snapshots([calls]))[0]

    async def fetch_order_fills(
        self,
        from_block: int,
        to_block: int,
        makers: Sequence[str],
        exchanges: Sequence[str] = LIVE_EXCHANGES,
    ) -> list[OrderFilledLog]:
        """Return these wallets' fills in both blocks and between, in chain order.

        Asks in spans of blocks, halving a span that the node refuses. Raises: Transient, also when
        the node has not seen ``to_block``.
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

    async def fetch_latest_block(self) -> Block:
        return _block(await self._rpc.call("eth_getBlockByNumber", "latest", _HEADER_ONLY))

    async def fetch_finalized_block(self) -> Block:
        return _block(await self._rpc.call("eth_getBlockByNumber", "finalized", _HEADER_ONLY))

    async def fetch_blocks(self, numbers: Sequence[int]) -> list[Block]:
        """Return the canonical blocks at these heights in one round trip, in order. Raises:
        Transient above the head.
        """
        answers = await self._rpc.call_all(
            [("eth_getBlockByNumber", [hex(number), _HEADER_ONLY]) for number in numbers]
        )
        return [_block(answer) for answer in answers]

    async def fetch_block_hash(self, number: int) -> str | None:
        """Return the canonical hash at this height now; ``None`` above the head."""
        block = await self._rpc.call("eth_getBlockByNumber", hex(number), _HEADER_ONLY)
        return None if block is None else str(block["hash"])

    async def fetch_block_hashes(self, numbers: Sequence[int]) -> dict[int, str | None]:
        """Return the canonical hashes at these heights now, in one round trip; ``None`` above the
        head.
        """
        answers = await self._rpc.call_all(
            [("eth_getBlockByNumber", [hex(number), _HEADER_ONLY]) for number in numbers]
        )
        return {
            number: None if answer is None else str(answer["hash"])
            for number, answer in zip(numbers, answers, strict=True)
        }

    async def fetch_receipt(self, tx_hash: str) -> Receipt | None:
        """Return the receipt; ``None`` while no canonical block that the node knows holds the
        transaction.
        """
        return (await self.fetch_receipts([tx_hash]))[0]

    async def fetch_receipts(self, tx_hashes: Sequence[str]) -> list[Receipt | None]:
        """Return the receipts in one round trip, in order."""
        answers = await self._rpc.call_all(
            [("eth_getTransactionReceipt", [tx_hash]) for tx_hash in tx_hashes]
        )
        return [None if answer is None else _receipt(answer) for answer in answers]

    async def close(self) -> None:
        await self._rpc.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _fills_between(
        self, start: int, end: int, makers: Sequence[str], exchanges: Sequence[str]
    ) -> list[OrderFilledLog]:
        wanted = {
            "fromBlock": hex(start),
            "toBlock": hex(end),
            "address": list(exchanges),
            "topics": maker_topics(makers),
        }
        # Behind a load balancer the node asked for logs may lag the one that told us the head: then
        # it answers "none" in good faith.
        head, logs = await self._rpc.call_all([("eth_blockNumber", []), ("eth_getLogs", [wanted])])
        if int(head, 16) < end:
            raise Transient(f"the node is at block {int(head, 16)}, before {end}")
        return decode_order_fills(logs)

    async def _snapshots(
        self, groups: Sequence[Sequence[ViewCall]]
    ) -> list[tuple[int, list[bytes]]]:
        requests = [("eth_call", [{"data": _snapshot_code(calls)}, "latest"]) for calls in groups]
        answers = await self._rpc.call_all(requests)
        return [
            _snapshot_answers(answer, len(calls))
            for calls, answer in zip(groups, answers, strict=True)
        ]


class _WalletReading:
    """The calls that read one wallet, and what their answers mean."""

    def __init__(self, spenders: tuple[str, ...], wallet: str, token_ids: tuple[int, ...]) -> None:
        if len(token_ids) > _TOKENS_PER_CALL:
            raise ValueError(f"at most {_TOKENS_PER_CALL} token ids per read, got {len(token_ids)}")
        self._spenders, self._wallet, self.tokens = spenders, wallet, len(token_ids)
        self._tokens_by_contract: dict[str, list[int]] = {}
        for token in token_ids:
            self._tokens_by_contract.setdefault(positions_contract(token), []).append(token)
        self.size = 1 + 3 * len(spenders) + len(self._tokens_by_contract)

    def calls(self) -> list[ViewCall]:
        owner = encode(["address"], [self._wallet])
        calls = [(PUSD, _BALANCE_OF + owner)]
        for spender in self._spenders:
            pair = owner + _address_word(spender)
            calls += [
                (PUSD, _ALLOWANCE + pair),
                (CONDITIONAL_TOKENS, _IS_APPROVED + pair),
                (POSITION_MANAGER, _IS_APPROVED + pair),
            ]
        for contract, tokens in self._tokens_by_contract.items():
            calls.append(
                (
                    contract,
                    _BALANCE_OF_BATCH
                    + encode(["address[]", "uint256[]"], [[self._wallet] * len(tokens), tokens]),
                )
            )
        return calls

    def parse(self, block_number: int, answers: Sequence[bytes]) -> WalletBalances:
        """Raises: Transient."""
        per_spender = list(
            zip(
                self._spenders,
                zip(*[iter(answers[1 : 1 + 3 * len(self._spenders)])] * 3, strict=True),
                strict=True,
            )
        )
        shares: dict[int, int] = {}
        for tokens, answer in zip(
            self._tokens_by_contract.values(), answers[1 + 3 * len(self._spenders) :], strict=True
        ):
            shares.update(
                zip(tokens, _decoded("uint256[]", answer, "ERC-1155 balances"), strict=True)
            )
        return WalletBalances(
            wallet=self._wallet,
            block_number=block_number,
            collateral=_number(answers[0], "the pUSD balance"),
            allowance_by_spender={
                spender: _number(allowance, "a pUSD allowance")
                for spender, (allowance, _, _) in per_spender
            },
            shares_by_token=shares,
            conditional_tokens_approved=frozenset(
                spender for spender, (_, approved, _) in per_spender if _is_approved(approved)
            ),
            position_manager_approved=frozenset(
                spender for spender, (_, _, approved) in per_spender if _is_approved(approved)
            ),
        )


def _snapshots_of(readings: Sequence[_WalletReading]) -> Iterator[list[_WalletReading]]:
    """As many wallets as one call of the snapshot has room for."""
    group: list[_WalletReading] = []
    for reading in readings:
        calls, tokens = (
            sum(each.size for each in (*group, reading)),
            sum(each.tokens for each in (*group, reading)),
        )
        if group and (calls > _CALLS_PER_SNAPSHOT or tokens > _TOKENS_PER_CALL):
            yield group
            group = []
        group.append(reading)
    if group:
        yield group


def _tried(
    reading: _WalletReading, block_number: int, answers: Sequence[bytes]
) -> WalletBalances | Transient:
    try:
        return reading.parse(block_number, answers)
    except Transient as error:
        return error


def _had(found: WalletBalances | Transient) -> WalletBalances:
    if isinstance(found, Transient):
        raise found
    return found


def _is_approved(answer: bytes) -> bool:
    told = _number(answer, "an ERC-1155 approval")
    if told > 1:
        raise Transient("the chain answered neither yes nor no to an ERC-1155 approval")
    return told == 1


def _number(answer: bytes, what: str) -> int:
    if len(answer) != WORD:
        raise Transient(f"the chain did not tell {what}")
    return int.from_bytes(answer)


def _decoded(kind: str, answer: bytes, what: str) -> Any:
    try:
        return decode([kind], answer)[0]
    except DecodingError as error:
        raise Transient(f"the chain did not tell {what}") from error


def _snapshot_code(calls: Sequence[ViewCall]) -> str:
    """The snapshot's creation code and its argument, ``(address,bytes)[]``: eth_abi takes 30 µs for
    each call, ten times as long.
    """
    tuples = [
        _address_word(contract)
        + _word(2 * WORD)
        + _word(len(asked))
        + asked.ljust(-(-len(asked) // WORD) * WORD, b"\0")
        for contract, asked in calls
    ]
    offsets = accumulate(map(len, tuples[:-1]), initial=len(tuples) * WORD)
    return (
        SNAPSHOT_CREATION_CODE
        + b"".join((_word(WORD), _word(len(tuples)), *map(_word, offsets), *tuples)).hex()
    )


def _word(number: int) -> bytes:
    return number.to_bytes(WORD)


def _address_word(address: str) -> bytes:
    return bytes.fromhex(address.removeprefix("0x")).rjust(WORD, b"\0")


def _snapshot_answers(answer: str, expected: int) -> tuple[int, list[bytes]]:
    try:
        block_number, answers = decode(
            ["uint256", "bytes[]"], bytes.fromhex(answer.removeprefix("0x"))
        )
    except DecodingError as error:
        raise Transient("the chain node did not run the snapshot") from error
    if len(answers) != expected:
        raise Transient(f"the snapshot holds {len(answers)} of {expected} answers")
    return block_number, list(answers)


def _block(answer: dict[str, Any] | None) -> Block:
    if answer is None:
        raise Transient("the chain node does not know the block")
    return Block(
        number=int(answer["number"], 16),
        hash=answer["hash"],
        parent_hash=answer["parentHash"],
        timestamp=int(answer["timestamp"], 16),
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
