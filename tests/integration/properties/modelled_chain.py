"""The chain as the model has it: blocks, and what each of them moved."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.chain.blocks import Block, Receipt
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


@dataclass
class ModelledChain:
    """Each transaction is in a block of its own. The latest block is empty and as old as now."""

    clock: Clock
    movements: list[Movement] = field(default_factory=list)
    mined: int = 0
    fails: bool = False

    def mine(self, wallet: str, token_id: str, change: int, tx_hash: str) -> None:
        self.mined += 1
        self.movements.append(Movement(self.mined, wallet, token_id, change, tx_hash))

    def balance(self, wallet: str, token_id: str, *, block_number: int | None = None) -> int:
        """Micro-shares as of the block; None: of the latest one."""
        return sum(
            each.change
            for each in self.movements
            if (each.wallet, each.token_id) == (wallet, token_id)
            and (block_number is None or each.block_number <= block_number)
        )

    async def fetch_latest_block(self) -> Block:
        self._require_answer()
        return Block(
            number=self.mined + 1,
            hash="",
            parent_hash="",
            timestamp=int(self.clock.now.timestamp()),
        )

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
                    logs=(),
                )
        return None

    def _require_answer(self) -> None:
        if self.fails:
            raise Transient("the node does not answer")
