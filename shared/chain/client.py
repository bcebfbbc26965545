"""Reads of the chain: wallets, fills, blocks and receipts."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from shared.chain.addresses import (
    EXCHANGE_V2,
    EXCHANGE_V3,
    LIVE_EXCHANGES,
    SECOND_NEG_RISK_EXCHANGE_V2,
    positions_contract,
)
from shared.chain.blocks import Block, Receipt, parse_block, parse_receipt
from shared.chain.logs import OrderFilledLog, decode_order_fills, maker_topics
from shared.chain.rpc import NodeRefused, Rpc
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
        ``block_span``: how many blocks the first eth_getLogs covers.
        """
        self._rpc = rpc
        self._spenders, self._exchanges = tuple(spenders), tuple(exchanges)
        self._block_span = block_span

    async def fetch_balances(self, wallet: str, token_ids: Sequence[int] = ()) -> WalletBalances:
        """Read one wallet at one block in one round trip."""
        return (await self.fetch_balances_by_wallet([wallet], token_ids))[wallet]

    async def fetch_balances_by_wallet(
        self, wallets: Sequence[str], token_ids: Sequence[int] = ()
    ) -> dict[str, WalletBalances]:
        """Read many wallets in one round trip.

        Each wallet is read at one block, several wallets perhaps at neighbouring ones.
        """
        results = await self.fetch_balances_or_failures(
            [(wallet, tuple(token_ids)) for wallet in wallets]
        )
        return dict(zip(wallets, map(_require_balances, results), strict=True))

    async def fetch_balances_or_failures(
        self, queries: Sequence[tuple[str, tuple[int, ...]]]
    ) -> list[WalletBalances | Transient]:
        """Read many wallets in one round trip, each with token ids of its own.

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
        self,
        from_block: int,
        to_block: int,
        makers: Sequence[str],
    ) -> list[OrderFilledLog]:
        """Return these wallets' fills from ``from_block`` to ``to_block``, both included, in chain
        order.

        Asks in spans of blocks, halving a span that the node refuses. Raises: Transient, also when
        the node has not seen ``to_block``.
        """
        fills: list[OrderFilledLog] = []
        start, span = from_block, self._block_span
        while makers and start <= to_block:
            end = min(start + span - 1, to_block)
            try:
                fills += await self._fetch_fills_between(start, end, makers)
            except NodeRefused:
                if end == start:
                    raise
                span = max(1, (end - start + 1) // 2)
            else:
                start = end + 1
        return fills

    async def fetch_latest_block(self) -> Block:
        return parse_block(await self._rpc.call("eth_getBlockByNumber", "latest", _HEADER_ONLY))

    async def fetch_finalized_block(self) -> Block:
        return parse_block(await self._rpc.call("eth_getBlockByNumber", "finalized", _HEADER_ONLY))

    async def fetch_blocks(self, numbers: Sequence[int]) -> list[Block]:
        """Return the canonical blocks at these heights, in order, in one round trip.

        Raises: Transient where a height is above the head.
        """
        answers = await self._rpc.call_batch(
            [("eth_getBlockByNumber", [hex(number), _HEADER_ONLY]) for number in numbers]
        )
        return [parse_block(answer) for answer in answers]

    async def fetch_block_hash(self, number: int) -> str | None:
        """Return the canonical hash at this height; None above the head."""
        block = await self._rpc.call("eth_getBlockByNumber", hex(number), _HEADER_ONLY)
        return None if block is None else str(block["hash"])

    async def fetch_block_hashes(self, numbers: Sequence[int]) -> dict[int, str | None]:
        """Return the canonical hash by height, in one round trip; None above the head."""
        answers = await self._rpc.call_batch(
            [("eth_getBlockByNumber", [hex(number), _HEADER_ONLY]) for number in numbers]
        )
        return {
            number: None if answer is None else str(answer["hash"])
            for number, answer in zip(numbers, answers, strict=True)
        }

    async def fetch_receipt(self, tx_hash: str) -> Receipt | None:
        """Return the receipt; None while the node knows no canonical block with the transaction."""
        return (await self.fetch_receipts([tx_hash]))[0]

    async def fetch_receipts(self, tx_hashes: Sequence[str]) -> list[Receipt | None]:
        """Return the receipts in order, in one round trip; None as in ``fetch_receipt``."""
        answers = await self._rpc.call_batch(
            [("eth_getTransactionReceipt", [tx_hash]) for tx_hash in tx_hashes]
        )
        return [None if answer is None else parse_receipt(answer) for answer in answers]

    async def fetch_shares_and_receipts(
        self, wallet: str, token_id: int, *, block_number: int, tx_hashes: Sequence[str] = ()
    ) -> tuple[int, list[Receipt | None]]:
        """Return the wallet's micro-shares of the token as of the block, and the receipts as
        ``fetch_receipts`` does, from a node that knows the block.

        Raises: Transient, also where the node has not seen the block, or has lost its state.
        """
        call = {
            "to": positions_contract(token_id),
            "data": "0x" + build_balance_call(wallet, token_id).hex(),
        }
        shares, *answers = await self._rpc.call_batch(
            [
                ("eth_call", [call, hex(block_number)]),
                *(("eth_getTransactionReceipt", [tx_hash]) for tx_hash in tx_hashes),
            ]
        )
        return parse_balance(shares), [
            None if answer is None else parse_receipt(answer) for answer in answers
        ]

    async def fetch_shares_at(
        self, queries: Sequence[tuple[str, int]], *, block_number: int
    ) -> list[int]:
        """Return the micro-shares of each wallet and token as of the block, in order, in one round
        trip.

        Raises: Transient, also where the node has not seen the block; NodeRefused where it has lost
        its state.
        """
        groups = group_balances(queries)
        requests = [
            (
                "eth_call",
                [
                    {"to": group.contract, "data": "0x" + group.build_call().hex()},
                    hex(block_number),
                ],
            )
            for group in groups
        ]
        head, *answers = await self._rpc.call_batch([("eth_blockNumber", []), *requests])
        # Some nodes answer a height that they have not seen as the latest.
        if int(head, 16) < block_number:
            raise Transient(f"the node is at block {int(head, 16)}, before {block_number}")
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

    async def _fetch_fills_between(
        self, start: int, end: int, makers: Sequence[str]
    ) -> list[OrderFilledLog]:
        log_filter = {
            "fromBlock": hex(start),
            "toBlock": hex(end),
            "address": list(self._exchanges),
            "topics": maker_topics(makers),
        }
        # Behind a load balancer the node asked for logs may lag behind the one that reported the
        # head, and would then answer with no logs. Both are asked in one batch.
        head, logs = await self._rpc.call_batch(
            [("eth_blockNumber", []), ("eth_getLogs", [log_filter])]
        )
        if int(head, 16) < end:
            raise Transient(f"the node is at block {int(head, 16)}, before {end}")
        return decode_order_fills(logs)

    async def _fetch_snapshots(
        self, groups: Sequence[Sequence[ViewCall]]
    ) -> list[tuple[int, list[bytes]]]:
        requests = [("eth_call", [{"data": build_snapshot(calls)}, "latest"]) for calls in groups]
        results = await self._rpc.call_batch(requests)
        return [
            parse_snapshot(result, len(calls))
            for calls, result in zip(groups, results, strict=True)
        ]


def _require_balances(result: WalletBalances | Transient) -> WalletBalances:
    if isinstance(result, Transient):
        raise result
    return result
