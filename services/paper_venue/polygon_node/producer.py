"""The block producer: builds blocks of what the pool has, and reorganizes the chain."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from services.paper_venue.polygon_node.fees import compute_next_base_fee
from services.paper_venue.polygon_node.packing import pick_transactions
from services.paper_venue.polygon_node.pool import AccountState, Pool
from services.paper_venue.polygon_node.refusals import INVALID_PARAMS, Refused
from services.paper_venue.polygon_node.transactions import Transaction, parse_transaction
from services.paper_venue.polygon_node.upstream import Upstream

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reorg:
    """What a reorg did."""

    unmined: tuple[str, ...]
    """Hashes of the transactions of the blocks that it replaced, oldest first."""
    reinjected: tuple[str, ...]
    """Those that are in the pool again."""
    head: int
    """The number of the last block of the new branch."""


class Producer:
    """Builds the blocks. One call at a time: its owner has the lock."""

    def __init__(self, pool: Pool, upstream: Upstream) -> None:
        self.base_fee: int | None = None
        """Of every next block, in wei per gas; None: as Polygon computes it."""
        self.held: set[str] = set()
        """Hashes and senders that it ignores, in lower case."""
        self._pool = pool
        self._upstream = upstream
        self._built: dict[str, Transaction] = {}
        """All transactions that were put into blocks, by hash."""
        self._branches = 0

    async def fetch_base_fee(self) -> int:
        """The base fee of the next block, in wei per gas. Raises: Transient."""
        if self.base_fee is not None:
            return self.base_fee
        return compute_next_base_fee(await self._upstream.fetch_header())

    async def mine(self) -> int:
        """Build one block and return its number. Raises: Transient."""
        accounts = await self.settle()
        header = await self._upstream.fetch_header()
        base_fee = await self.fetch_base_fee()
        picked = pick_transactions(
            [self._pool.list_pending(each, accounts[each].nonce) for each in self._pool.senders],
            base_fee=base_fee,
            tip_floor=self._pool.limits.tip_floor,
            block_gas=int(header["gasLimit"], 16),
            is_held=self._is_held,
        )
        await self._build_block(picked, base_fee=base_fee)
        await self.settle()
        return int((await self._upstream.fetch_header())["number"], 16)

    async def settle(self) -> dict[str, AccountState]:
        """Bring the pool to the head; returns the accounts that it has transactions of, as of the
        head. Raises: Transient.
        """
        now_s = int((await self._upstream.fetch_header())["timestamp"], 16)
        accounts = await self._upstream.fetch_accounts(self._pool.senders)
        self._pool.settle(accounts, now_s=now_s)
        return {each: accounts[each] for each in self._pool.senders}

    async def reorg(
        self, depth: int, *, blocks: int, reinject: bool, competing: Sequence[str]
    ) -> Reorg:
        """Replace the last ``depth`` blocks by ``blocks`` others of another producer, the first
        with the raw transactions ``competing`` and all others empty.

        Raises: Refused, where the chain is shorter, or, after it was cut, where anvil refuses a
        transaction of the new branch; Transient.
        """
        head = int((await self._upstream.fetch_header())["number"], 16)
        if not 0 < depth <= head or (competing and blocks < 1):
            raise Refused(f"cannot replace {depth} blocks of {head} by {blocks}", INVALID_PARAMS)
        rivals = [parse_transaction(each) for each in competing]
        hashes = await self._list_mined(first=head - depth + 1, last=head)
        unmined = await self._read_transactions(hashes)
        await self._upstream.call("anvil_rollback", depth)
        # An empty block of the same second would otherwise have the hash of the one it replaces.
        self._branches += 1
        await self._upstream.call("anvil_setCoinbase", f"0x{self._branches:040x}")
        try:
            for number in range(blocks):
                mined, base_fee = rivals if number == 0 else [], await self.fetch_base_fee()
                await self._build_block(mined, base_fee=base_fee, strict=True)
        finally:
            reinjected = await self._reinject(unmined) if reinject else []
            await self.settle()
        return Reorg(
            unmined=tuple(hashes),
            reinjected=tuple(each.hash for each in reinjected),
            head=head - depth + blocks,
        )

    async def _build_block(
        self, transactions: Sequence[Transaction], *, base_fee: int, strict: bool = False
    ) -> None:
        """``strict``: raise what anvil refuses, instead of leaving it out."""
        refused_senders: set[str] = set()
        await self._set_base_fee(base_fee)
        # It mines a block for each transaction then.
        automines = bool(await self._upstream.call("anvil_getAutomine"))
        has_mined = False
        for each in transactions:
            if each.sender in refused_senders:
                continue
            try:
                await self._upstream.call("eth_sendRawTransaction", each.raw)
            except Refused as error:
                if strict:
                    raise
                logger.warning("anvil refused %s, which stays in the pool: %s", each.hash, error)
                refused_senders.add(each.sender)
                continue
            self._built[each.hash] = each
            if automines:
                has_mined = True
                await self._set_base_fee(base_fee)
        if not has_mined:
            await self._upstream.call("evm_mine")

    async def _set_base_fee(self, base_fee: int) -> None:
        await self._upstream.call("anvil_setNextBlockBaseFeePerGas", hex(base_fee))

    async def _list_mined(self, *, first: int, last: int) -> list[str]:
        headers = [await self._upstream.fetch_header(hex(each)) for each in range(first, last + 1)]
        return [tx_hash for header in headers for tx_hash in header["transactions"]]

    async def _read_transactions(self, hashes: Sequence[str]) -> list[Transaction]:
        """The transactions, without those that nobody has signed (anvil's impersonated ones)."""
        found = []
        for each in hashes:
            if each not in self._built:
                raw = await self._upstream.call("eth_getRawTransactionByHash", each)
                try:
                    self._built[each] = parse_transaction(raw)
                except Refused:
                    logger.warning("%s has no signature: a reorg removes it for good", each)
                    continue
            found.append(self._built[each])
        return found

    async def _reinject(self, unmined: Sequence[Transaction]) -> list[Transaction]:
        senders = list(dict.fromkeys(each.sender for each in unmined))
        accounts = await self._upstream.fetch_accounts(senders)
        now_s = int((await self._upstream.fetch_header())["timestamp"], 16)
        return self._pool.restore(unmined, accounts, now_s=now_s)

    def _is_held(self, transaction: Transaction) -> bool:
        return transaction.hash in self.held or transaction.sender.lower() in self.held
