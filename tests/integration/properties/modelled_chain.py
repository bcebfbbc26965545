"""The chain as the model has it: blocks, and what each of them moved."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.chain.addresses import EXCHANGE_V2
from shared.chain.blocks import Block, Receipt
from shared.chain.logs import ORDER_FILLED
from shared.domain.errors import Transient
from tests.fakes import Clock


@dataclass(frozen=True, slots=True)
class Movement:
    block_number: int
    wallet: str
    token_id: str
    change: int
    """Micro-shares."""
    tx_hash: str


BLOCK_SECONDS = 2
MAX_EMPTY_BLOCKS = 150
"""At once, however much time has passed: more than any of the services looks back."""


@dataclass
class ModelledChain:
    """Each transaction is in a block of its own. Empty blocks come every two seconds."""

    clock: Clock
    movements: list[Movement] = field(default_factory=list)
    fails: bool = False
    _block_times: list[int] = field(default_factory=list)
    """Unix seconds by block number."""

    def mine(self, wallet: str, token_id: str, change: int, tx_hash: str) -> None:
        """Put the transaction into a block, and an empty one after it."""
        self._add_empty_blocks()
        number, now = len(self._block_times), self._now()
        self._block_times += [now, now]
        self.movements.append(Movement(number, wallet, token_id, change, tx_hash))

    def _add_empty_blocks(self) -> None:
        now = self._now()
        latest = self._block_times[-1] if self._block_times else now - BLOCK_SECONDS
        count = min((now - latest) // BLOCK_SECONDS, MAX_EMPTY_BLOCKS)
        self._block_times += [now - BLOCK_SECONDS * back for back in reversed(range(count))]

    def _now(self) -> int:
        return int(self.clock.now.timestamp())

    def balance(self, wallet: str, token_id: str, *, block_number: int | None = None) -> int:
        """Micro-shares as of the block; None: of the latest one."""
        return sum(
            each.change
            for each in self.movements
            if (each.wallet, each.token_id) == (wallet, token_id)
            and (block_number is None or each.block_number <= block_number)
        )

    def first_left_at(self, wallet: str, token_id: str, *, after_block: int) -> int | None:
        """Unix seconds of the first decrease after the block; None: there is none."""
        return next(
            (
                self._block_times[each.block_number]
                for each in self.movements
                if (each.wallet, each.token_id) == (wallet, token_id)
                and each.block_number > after_block
                and each.change < 0
            ),
            None,
        )

    async def fetch_latest_block(self) -> Block:
        self._require_answer()
        self._add_empty_blocks()
        return self._block(len(self._block_times) - 1)

    async def fetch_blocks(self, numbers: Sequence[int]) -> list[Block]:
        self._require_answer()
        return list(map(self._block, numbers))

    async def fetch_shares_at(
        self, queries: Sequence[tuple[str, int]], *, block_number: int
    ) -> list[int]:
        self._require_answer()
        return [
            self.balance(wallet, str(token_id), block_number=block_number)
            for wallet, token_id in queries
        ]

    async def fetch_receipts(self, tx_hashes: Sequence[str]) -> list[Receipt | None]:
        self._require_answer()
        return list(map(self._receipt, tx_hashes))

    async def fetch_shares_and_receipts(
        self, wallet: str, token_id: int, *, block_number: int, tx_hashes: Sequence[str] = ()
    ) -> tuple[int, list[Receipt | None]]:
        self._require_answer()
        shares = self.balance(wallet, str(token_id), block_number=block_number)
        return shares, [self._receipt(each) for each in tx_hashes]

    def _receipt(self, tx_hash: str) -> Receipt | None:
        for each in self.movements:
            if each.tx_hash == tx_hash:
                return Receipt(
                    tx_hash=tx_hash,
                    block_number=each.block_number,
                    block_hash="",
                    succeeded=True,
                    gas_used=0,
                    logs=(_build_log(each),),
                )
        return None

    def _block(self, number: int) -> Block:
        return Block(number=number, hash="", parent_hash="", timestamp=self._block_times[number])

    def _require_answer(self) -> None:
        if self.fails:
            raise Transient("the node does not answer")


def _build_log(movement: Movement) -> dict[str, Any]:
    """As of an order that the wallet made, filled by one match."""
    sells, shares = movement.change < 0, abs(movement.change)
    words = (int(sells), int(movement.token_id), shares, shares, 0, 0, 0)
    return {
        "address": EXCHANGE_V2,
        "topics": [ORDER_FILLED, f"0x{1:064x}", *["0x" + movement.wallet[2:].rjust(64, "0")] * 2],
        "data": "0x" + "".join(f"{word:064x}" for word in words),
        "blockNumber": hex(movement.block_number),
        "blockHash": f"0x{movement.block_number:064x}",
        "transactionHash": movement.tx_hash,
        "logIndex": "0x0",
    }
