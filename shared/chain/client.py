"""Reads of the chain: wallets, fills, blocks and receipts."""

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

from shared.chain.addresses import (
    EXCHANGE_V2,
    EXCHANGE_V3,
    LIVE_EXCHANGES,
    SECOND_NEG_RISK_EXCHANGE_V2,
    positions_contract,
)
from shared.chain.blocks import Block, FinalityUnknown, Receipt, parse_block, parse_receipt
from shared.chain.fill_reader import FillReader, FillSpan
from shared.chain.logs import OrderFilledLog
from shared.chain.rpc import NodeRefused, Request, Rpc
from shared.chain.snapshots import ViewCall, build_snapshot, parse_snapshot
from shared.chain.wallet_balances import (
    WalletBalances,
    WalletQuery,
    build_balance_call,
    group_balances,
    group_queries,
    parse_balance,
)
from shared.domain.errors import Transient

T = TypeVar("T")

_HEADER_ONLY = False
"""Second parameter of eth_getBlockByNumber: transactions as hashes."""


class ChainClient:
    """Reads of the chain for services.

    Every method raises Transient when the node fails; it never returns a zero or an empty list
    instead.
    """

    def __init__(
        self,
        rpc: Rpc,
        *,
        spenders: Sequence[str] = (EXCHANGE_V2, EXCHANGE_V3),
        exchanges: Sequence[str] = (*LIVE_EXCHANGES, SECOND_NEG_RISK_EXCHANGE_V2),
        block_span: int = 2_000,
    ) -> None:
        """``spenders``: whose allowances and approvals are read. ``exchanges``: whose fills are.
        ``block_span``: how many blocks one eth_getLogs covers, unless the node refuses as many.
        """
        self._rpc, self._spenders = rpc, tuple(spenders)
        self._fills = FillReader(rpc, exchanges=exchanges, block_span=block_span)

    async def fetch_balances(self, wallet: str, token_ids: Sequence[int] = ()) -> WalletBalances:
        """Read one wallet at one block."""
        return (await self.fetch_balances_by_wallet([wallet], token_ids))[wallet]

    async def fetch_balances_by_wallet(
        self, wallets: Sequence[str], token_ids: Sequence[int] = ()
    ) -> dict[str, WalletBalances]:
        """Read many wallets.

        Each wallet is read at one block, several wallets perhaps at neighbouring ones.
        """
        results = await self.fetch_balances_or_failures(
            [(wallet, tuple(token_ids)) for wallet in wallets]
        )
        return dict(zip(wallets, map(_require_read, results), strict=True))

    async def fetch_balances_or_failures(
        self, queries: Sequence[tuple[str, tuple[int, ...]]]
    ) -> list[WalletBalances | Transient]:
        """Read many wallets, each with token ids of its own.

        A wallet that could not be read fails alone: its result is the failure. Raises: Transient
        where none could be read.
        """
        wallet_queries = [
            WalletQuery(self._spenders, wallet, token_ids) for wallet, token_ids in queries
        ]
        groups = list(group_queries(wallet_queries))
        snapshots = await self._fetch_snapshots(
            [[call for query in group for call in query.build_calls()] for group in groups]
        )
        results: list[WalletBalances | Transient] = []
        for group, (block_number, answers) in zip(groups, snapshots, strict=True):
            remaining = iter(answers)
            results += [
                query.parse_or_failure(
                    block_number, [next(remaining) for _ in range(query.call_count)]
                )
                for query in group
            ]
        return results

    async def fetch_snapshot(self, calls: Sequence[ViewCall]) -> tuple[int, list[bytes]]:
        """Return a block number and the answer of each view call at that block.

        A call that reverted, or met no contract, has an empty answer.
        """
        return (await self._fetch_snapshots([calls]))[0]

    async def fetch_order_fills(
        self, from_block: int, to_block: int, makers: Sequence[str]
    ) -> list[OrderFilledLog]:
        """Return these wallets' fills from ``from_block`` to ``to_block``, both included, in chain
        order. Raises: as ``read_order_fills``.
        """
        spans = self.read_order_fills(from_block, to_block, makers)
        return [fill async for span in spans for fill in span.fills]

    def read_order_fills(
        self, from_block: int, to_block: int, makers: Sequence[str]
    ) -> AsyncIterator[FillSpan]:
        """Yield these wallets' fills from ``from_block`` to ``to_block``, both included, span after
        span. What a node's limits refuse is asked for in smaller parts.

        Raises: Transient, also when the node has not seen a span's last block; NodeRefused where it
        refuses even one block and one wallet.
        """
        return self._fills.read(from_block, to_block, makers)

    def read_final_fills(
        self, from_block: int, final: Block, makers: Sequence[str]
    ) -> AsyncIterator[FillSpan]:
        """Yield these wallets' fills from ``from_block`` to ``final``, both included, span after
        span, from nodes that have this very block: its ancestors are then the same for all of them.
        A log that cannot be read is one of the span's ``unreadable``.

        Raises: as ``read_order_fills``, also where a node has another block at that height.
        """
        return self._fills.read(from_block, final.number, makers, final=final)

    async def fetch_latest_block(self) -> Block:
        return parse_block(await self._rpc.call("eth_getBlockByNumber", "latest", _HEADER_ONLY))

    async def fetch_finalized_block(self) -> Block:
        """Raises: as ``fetch_finalized_and_latest``."""
        return (await self.fetch_finalized_and_latest())[0]

    async def fetch_finalized_and_latest(self) -> tuple[Block, Block]:
        """Raises: FinalityUnknown where the node names no finalized block, or one that is above its
        own head; Transient.
        """
        tags = ("finalized", "latest")
        try:
            answer, latest = await self._rpc.call_batch(
                [("eth_getBlockByNumber", [tag, _HEADER_ONLY]) for tag in tags]
            )
        except NodeRefused as error:
            if error.is_about_access:
                raise
            raise FinalityUnknown(f"{error.code}: {error.text}") from error
        if answer is None:
            raise FinalityUnknown("its answer is null")
        block, head = parse_block(answer), parse_block(latest)
        if block.number > head.number:
            raise FinalityUnknown(f"it names block {block.number}, and is at {head.number} itself")
        return block, head

    async def fetch_blocks(self, numbers: Sequence[int]) -> list[Block]:
        """Return the canonical blocks at these heights, in order.

        Raises: Transient where a height is above the head.
        """
        answers = await self._rpc.call_batch(list(map(_build_block_request, numbers)))
        return [
            parse_block(answer, number=number)
            for number, answer in zip(numbers, answers, strict=True)
        ]

    async def fetch_block_hash(self, number: int) -> str | None:
        """Return the canonical hash at this height; None above the head."""
        return (await self.fetch_block_hashes([number]))[number]

    async def fetch_block_hashes(self, numbers: Sequence[int]) -> dict[int, str | None]:
        """Return the canonical hash by height; None above the head."""
        answers = await self._rpc.call_batch(list(map(_build_block_request, numbers)))
        return {
            number: None if answer is None else parse_block(answer, number=number).hash
            for number, answer in zip(numbers, answers, strict=True)
        }

    async def fetch_receipt(self, tx_hash: str) -> Receipt | None:
        """Return the receipt; None while the node knows no canonical block with the transaction."""
        return (await self.fetch_receipts([tx_hash]))[0]

    async def fetch_receipts(self, tx_hashes: Sequence[str]) -> list[Receipt | None]:
        """Return the receipts in order; None as in ``fetch_receipt``. Raises: Transient."""
        return list(map(_require_read, await self.fetch_receipts_or_failures(tx_hashes)))

    async def fetch_receipts_or_failures(
        self, tx_hashes: Sequence[str]
    ) -> list[Receipt | Transient | None]:
        """Return the receipts in order; None as in ``fetch_receipt``. A receipt that could not be
        read fails alone: its result is the failure. Raises: Transient where none could be read.
        """
        answers = await self._rpc.call_each(list(map(_build_receipt_request, tx_hashes)))
        return list(map(_parse_receipt_or_failure, answers, tx_hashes))

    async def fetch_shares_and_receipts(
        self, wallet: str, token_id: int, *, block_number: int, tx_hashes: Sequence[str] = ()
    ) -> tuple[int, list[Receipt | None]]:
        """Return the wallet's micro-shares of the token as of the block, and the receipts as
        ``fetch_receipts`` does, from nodes that know the block.

        Raises: Transient, also where the node has not seen the block, or has lost its state.
        """
        contract, calldata = positions_contract(token_id), build_balance_call(wallet, token_id)
        shares, *receipts = await self._rpc.call_batch(
            [
                _build_call_request(contract, calldata, block_number),
                *map(_build_receipt_request, tx_hashes),
            ],
            seen_block=block_number,
        )
        return parse_balance(shares), [
            parse_receipt(answer, tx_hash=tx_hash)
            for answer, tx_hash in zip(receipts, tx_hashes, strict=True)
        ]

    async def fetch_shares_at(
        self, queries: Sequence[tuple[str, int]], *, block_number: int
    ) -> list[int]:
        """Return the micro-shares of each wallet and token as of the block, in order.

        Raises: Transient, also where the node has not seen the block; NodeRefused where it has lost
        its state.
        """
        groups = group_balances(queries)
        answers = await self._rpc.call_batch(
            [
                _build_call_request(each.contract, each.build_call(), block_number)
                for each in groups
            ],
            seen_block=block_number,
        )
        shares: dict[int, int] = {}
        for group, answer in zip(groups, answers, strict=True):
            shares.update(zip(group.positions, group.parse(answer), strict=True))
        return [shares[position] for position in range(len(queries))]

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

    async def _fetch_snapshots(
        self, groups: Sequence[Sequence[ViewCall]]
    ) -> list[tuple[int, list[bytes]]]:
        requests = [("eth_call", [{"data": build_snapshot(calls)}, "latest"]) for calls in groups]
        results = await self._rpc.call_batch(requests)
        return [
            parse_snapshot(result, len(calls))
            for calls, result in zip(groups, results, strict=True)
        ]


def _require_read(result: T | Transient) -> T:
    """Raises: Transient where the result is a failure."""
    if isinstance(result, Transient):
        raise result
    return result


def _parse_receipt_or_failure(answer: object, tx_hash: str) -> Receipt | Transient | None:
    if isinstance(answer, NodeRefused):
        return answer
    try:
        return parse_receipt(answer, tx_hash=tx_hash)
    except Transient as error:
        return error


def _build_block_request(number: int) -> Request:
    return "eth_getBlockByNumber", [hex(number), _HEADER_ONLY]


def _build_receipt_request(tx_hash: str) -> Request:
    return "eth_getTransactionReceipt", [tx_hash]


def _build_call_request(contract: str, calldata: bytes, block_number: int) -> Request:
    return "eth_call", [{"to": contract, "data": "0x" + calldata.hex()}, hex(block_number)]
