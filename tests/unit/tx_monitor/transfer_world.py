"""A small chain with nodes, for the state machine: any transaction that once left the process may
be mined at any later time.
"""

from dataclasses import dataclass, field
from datetime import datetime
from itertools import count

from services.tx_monitor.decisions.policy import GWEI
from services.tx_monitor.decisions.progress import build_movement
from services.tx_monitor.decisions.transfers import Attempt, AttemptKind, Transfer
from services.tx_monitor.decisions.views import NodeView
from shared.chain.blocks import Block, Receipt
from tests.unit.tx_monitor.transfer_facts import START, build_event, build_receipt, name_hash


@dataclass(frozen=True, kw_only=True)
class Tx:
    """A transaction of the operator wallet."""

    attempt: Attempt | None
    """None: a foreign one."""
    transfer: Transfer | None
    nonce: int


@dataclass(frozen=True, kw_only=True)
class Mined:
    tx: Tx
    outcome: str
    """``moved``, ``reverted`` or ``nothing``."""

    @property
    def request_id(self) -> str:
        """Whose amount it moved; empty: nobody's."""
        attempt, transfer = self.tx.attempt, self.tx.transfer
        if attempt is None or transfer is None or self.outcome != "moved":
            return ""
        return transfer.terms.request_id if attempt.kind is AttemptKind.TRANSFER else ""


@dataclass(frozen=True, kw_only=True)
class Link:
    """A block and what it has of the wallet."""

    block: Block
    mined: tuple[Mined, ...] = ()


Chain = tuple[Link, ...]
"""By height."""


@dataclass(kw_only=True)
class Node:
    name: str
    chain: Chain
    older: Chain
    """Before it was last synchronized; after it was shown, the same."""
    finalized: int = 0


@dataclass
class World:
    now: datetime = START
    base_fee: int = 50 * GWEI
    gas_balance: int = 10**20
    finalized: int = 0
    released: dict[str, Tx] = field(default_factory=dict)
    """What left the process, by its hash."""
    pooled: set[str] = field(default_factory=set)
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.chain: Chain = ()
        self.add_block()
        self.nodes = [Node(name=each, chain=self.chain, older=self.chain) for each in "ab"]

    def add_block(self, *mined: Mined) -> None:
        number = len(self.chain)
        block = Block(
            number=number,
            hash=name_hash(next(self.numbers)),
            parent_hash=self.chain[-1].block.hash if self.chain else name_hash(0),
            timestamp=int(self.now.timestamp()),
        )
        self.chain = (*self.chain, Link(block=block, mined=mined))
        self.pooled -= {each.tx.attempt.tx_hash for each in mined if each.tx.attempt}

    def release(self, transfer: Transfer, attempt: Attempt) -> None:
        """The bytes are sent: the pool has them, in place of those with lower fees."""
        assert transfer.nonce is not None
        self.released[attempt.tx_hash] = Tx(
            attempt=attempt, transfer=transfer, nonce=transfer.nonce
        )
        others = self.pooled & {each.tx_hash for each in transfer.attempts}
        if transfer.nonce >= count_nonces(self.chain) and not any(
            each.tx_hash in others and each.fees.max_fee > attempt.fees.max_fee
            for each in transfer.attempts
        ):
            self.pooled = self.pooled - others | {attempt.tx_hash}

    def list_minable(self) -> list[Tx]:
        """What left the process, has the next nonce, and pays enough."""
        return [
            tx
            for tx in self.released.values()
            if tx.nonce == count_nonces(self.chain)
            and tx.attempt
            and tx.attempt.fees.max_fee >= self.base_fee
            and tx.attempt.gas * tx.attempt.fees.max_fee <= self.gas_balance
        ]

    def add_best_block(self) -> None:
        """A block with what the pool has for the next nonce."""
        best = [
            tx for tx in self.list_minable() if tx.attempt and tx.attempt.tx_hash in self.pooled
        ]
        self.add_block(*(Mined(tx=tx, outcome="moved") for tx in best[:1]))

    def reorganize(self, depth: int, new_blocks: int) -> None:
        self.chain = self.chain[: max(len(self.chain) - depth, self.finalized + 1)]
        for _ in range(new_blocks):
            self.add_block()

    def synchronize(self, node: Node) -> None:
        node.older, node.chain, node.finalized = node.chain, self.chain, self.finalized

    def show(self, node: Node, hashes: set[str], heights: set[int], *, torn: bool) -> NodeView:
        """What the node answers. ``torn``: receipts and nonce were read before the rest."""
        read_first = node.older if torn else node.chain
        node.older = node.chain
        final = node.chain[: node.finalized + 1]
        receipts = {each: find_receipt(read_first, each) for each in hashes}
        return NodeView(
            name=node.name,
            head=node.chain[-1].block,
            finalized=final[-1].block,
            base_fee=self.base_fee,
            rewards=(30 * GWEI,) * 10,
            node_tip=None,
            nonce=count_nonces(read_first),
            final_nonce=count_nonces(final),
            gas_balance=self.gas_balance,
            receipts=receipts,
            pooled=frozenset(self.pooled),
            blocks={
                each: node.chain[each].block.hash if each < len(node.chain) else None
                for each in heights
            },
        )


def count_nonces(chain: Chain) -> int:
    return sum(len(link.mined) for link in chain)


def find_receipt(chain: Chain, tx_hash: str) -> Receipt | None:
    for link in chain:
        for each in link.mined:
            attempt, transfer = each.tx.attempt, each.tx.transfer
            if attempt and transfer and attempt.tx_hash == tx_hash:
                logs = (build_event(build_movement(transfer.terms)),) if each.request_id else ()
                return build_receipt(
                    tx_hash, link.block, logs, succeeded=each.outcome != "reverted"
                )
    return None


def count_effects(chain: Chain, request_id: str) -> int:
    return sum(each.request_id == request_id for link in chain for each in link.mined)


def find_user(chain: Chain, nonce: int) -> Tx | None:
    """The transaction in a block with this nonce."""
    for link in chain:
        for each in link.mined:
            if each.tx.nonce == nonce:
                return each.tx
    return None
