"""What several nodes show of an operator wallet, as one. Pure.

A node that is behind adds nothing. Of the others, the one that shows least decides what is final,
and each, also one that is behind, can contradict it: while a right node answers, a faulty one can
delay a transfer, not close it wrongly. A node that does not answer contradicts nobody: one alone is
believed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.tx_monitor.decisions.fees import suggest_fees
from services.tx_monitor.decisions.policy import Policy
from services.tx_monitor.decisions.transfers import Seen
from shared.chain.blocks import Block, Receipt
from shared.domain.errors import Transient


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """What one node answered in one round."""

    name: str
    """Which node; not its address, which may contain a key."""
    head: Block
    finalized: Block | None
    """None: it names none."""
    base_fee: int
    """Of the next block, in wei."""
    rewards: tuple[int, ...]
    """The tips that were paid in the last blocks, in wei."""
    node_tip: int | None
    """The tip that it advises, in wei; None: it does not."""
    nonce: int
    """How many of the wallet's transactions are in its blocks."""
    final_nonce: int | None
    """The same as of its finalized block; None: not known."""
    gas_balance: int
    """The wallet's POL, in wei."""
    receipts: Mapping[str, Receipt | None]
    """By transaction; None: in no block. One that is missing could not be read."""
    pooled: frozenset[str]
    """The transactions that it has, in its pool or in a block."""
    blocks: Mapping[int, str | None]
    """Hashes by height; None: above its head. One that is missing could not be read."""
    unreadable: tuple[str, ...] = ()
    """What is wrong with answers of which the above lacks something, a sentence for each."""


def merge_views(views: Sequence[NodeView], *, asked: int, now: datetime, policy: Policy) -> Seen:
    """Return what the nodes show together. ``asked``: how many nodes were asked.

    Raises: Transient where none answered.
    """
    if not views:
        raise Transient(f"none of {asked} chain nodes answered")
    current = _list_current(views, now, policy)
    best = max(current, key=lambda view: view.head.number)
    finalized = _agree_on_finalized(current, views)
    receipts = _merge_receipts(current, best)
    return Seen(
        head=best.head,
        finalized=finalized,
        base_fee=best.base_fee,
        suggested=suggest_fees(
            base_fee=best.base_fee, rewards=best.rewards, node_tip=best.node_tip, policy=policy
        ),
        nonce=max(view.nonce for view in current),
        nonce_floor=min(view.nonce for view in current),
        final_nonce=None if finalized is None else _merge_final_nonces(current),
        gas_balance=min(view.gas_balance for view in current),
        receipts=receipts,
        without_receipt=_find_without_receipt(current),
        canonical=_agree_on_blocks(current, views),
        pooled=frozenset().union(*(view.pooled for view in current), receipts),
        is_complete=len(current) == asked and _is_complete(current),
        finality_lag=timedelta.max if finalized is None else _age(finalized, now),
        answered=frozenset(view.name for view in views),
        heads={view.name: view.head.number for view in current},
    )


def list_concerns(
    views: Sequence[NodeView], *, asked: int, now: datetime, policy: Policy
) -> tuple[str, ...]:
    """Return what an operator should know about the nodes, a sentence for each."""
    silent = asked - len(views)
    return (
        *([f"{silent} of {asked} chain nodes did not answer"] if silent > 0 else ()),
        *list_disputes(views, now=now, policy=policy),
        *list_delays(views, now=now, policy=policy),
    )


def list_disputes(views: Sequence[NodeView], *, now: datetime, policy: Policy) -> tuple[str, ...]:
    """Return those of the concerns for which a node must be wrong, or does not know enough."""
    if not views:
        return ()
    current = _list_current(views, now, policy)
    concerns = [f"node {view.name}: {text}" for view in views for text in view.unreadable]
    if all(_read_finalized(view) is None for view in current):
        concerns.append("no node names a finalized block")
    concerns += [
        f"the nodes contradict one another about block {height}, which is final"
        for height in _find_contradictions(views)
    ]
    concerns += [
        f"the nodes contradict one another about the receipt of {tx_hash}"
        for tx_hash in _find_disputed(current)
    ]
    return tuple(concerns)


def list_delays(views: Sequence[NodeView], *, now: datetime, policy: Policy) -> tuple[str, ...]:
    """Return those of the concerns that pass by themselves where a node only is late."""
    current = _list_current(views, now, policy)
    behind = [
        f"node {view.name} is behind: its head is block {view.head.number}"
        for view in views
        if view not in current
    ]
    ages = [
        (view.name, _age(block, now))
        for view in current
        if (block := _read_finalized(view)) is not None
    ]
    lagging = [
        f"the finalized block of node {name} is {age // timedelta(seconds=1)} seconds old"
        for name, age in ages
        if age > policy.max_finality_lag
    ]
    return (*behind, *lagging)


def _list_current(views: Sequence[NodeView], now: datetime, policy: Policy) -> list[NodeView]:
    """The nodes that are up to date: not behind the newest head. A head that is of the future makes
    no other node late: a wrong node would decide alone.
    """
    newest = max((view.head.timestamp for view in views), default=0)
    reference = min(newest, int(now.timestamp()))
    allowed = policy.max_head_lag // timedelta(seconds=1)
    return [view for view in views if reference - view.head.timestamp <= allowed]


def _read_finalized(view: NodeView) -> Block | None:
    """The node's finalized block; None also where that is above its head: nothing is known of it
    then.
    """
    block = view.finalized
    return None if block is None or block.number > view.head.number else block


def _agree_on_finalized(current: Sequence[NodeView], views: Sequence[NodeView]) -> Block | None:
    """The lowest that a node names; None where none does, or a node, even one that is behind,
    contradicts one that is final for another.
    """
    named = [block for view in current if (block := _read_finalized(view)) is not None]
    if not named or _find_contradictions(views):
        return None
    return min(named, key=lambda block: block.number)


def _find_contradictions(views: Sequence[NodeView]) -> list[int]:
    """The heights at or below a finalized block for which nodes have different hashes."""
    named = [block.number for view in views if (block := _read_finalized(view)) is not None]
    hashes = _collect_hashes(views)
    return sorted(
        height
        for height, found in hashes.items()
        if len(found) > 1 and height <= max(named, default=-1)
    )


def _collect_hashes(views: Sequence[NodeView]) -> dict[int, set[str]]:
    hashes: dict[int, set[str]] = {}
    for view in views:
        for height, block_hash in _list_hashes(view):
            hashes.setdefault(height, set()).add(block_hash)
    return hashes


def _list_hashes(view: NodeView) -> Iterator[tuple[int, str]]:
    """Every block that the node calls canonical."""
    yield from ((height, each) for height, each in view.blocks.items() if each is not None)
    yield view.head.number, view.head.hash
    finalized = _read_finalized(view)
    if finalized is not None:
        yield finalized.number, finalized.hash


def _agree_on_blocks(current: Sequence[NodeView], views: Sequence[NodeView]) -> dict[int, str]:
    """Without the blocks whose receipts differ, and those that a node must have and did not show:
    nothing in them can become final.
    """
    hashes = _collect_hashes(views)
    disputed = {receipt.block_number for receipt in _find_disputed(current).values()}
    return {
        height: next(iter(found))
        for height, found in hashes.items()
        if len(found) == 1
        and height not in disputed
        and all(_has_answered(view, height) for view in current)
    }


def _has_answered(view: NodeView, height: int) -> bool:
    """Whether the node's block at this height is known, or it has none."""
    return height > view.head.number or any(known == height for known, _ in _list_hashes(view))


def _find_disputed(current: Sequence[NodeView]) -> dict[str, Receipt]:
    """One receipt of each transaction of which two nodes show different outcomes in one block (a
    node may, for example, lack the logs), or which is in no block for a node to which that block is
    final.
    """
    outcomes: dict[tuple[str, str], tuple[bool, int]] = {}
    disputed: dict[str, Receipt] = {}
    for view in current:
        for tx_hash, receipt in view.receipts.items():
            if receipt is None:
                continue
            outcome = receipt.succeeded, len(receipt.logs)
            key = tx_hash, receipt.block_hash
            if outcomes.setdefault(key, outcome) != outcome or _is_denied(receipt, current):
                disputed[tx_hash] = receipt
    return disputed


def _is_denied(receipt: Receipt, current: Sequence[NodeView]) -> bool:
    return any(
        view.receipts.get(receipt.tx_hash, receipt) is None
        and (final := _read_finalized(view)) is not None
        and final.number >= receipt.block_number
        for view in current
    )


def _merge_final_nonces(current: Sequence[NodeView]) -> int | None:
    """The lowest; None where a node names a finalized block and not this."""
    nonces = [view.final_nonce for view in current if _read_finalized(view) is not None]
    known = [nonce for nonce in nonces if nonce is not None]
    return min(known) if known and len(known) == len(nonces) else None


def _merge_receipts(current: Sequence[NodeView], best: NodeView) -> dict[str, Receipt]:
    """A receipt of each transaction that is in a block; of different ones, that of the best node.

    One whose block is not in the node's own chain any more is of neither kind: it is read again.
    """
    receipts: dict[str, Receipt] = {}
    for view in [*(each for each in current if each is not best), best]:
        for tx_hash, receipt in view.receipts.items():
            if receipt is not None and _is_own_block(view, receipt):
                receipts[tx_hash] = receipt
    for tx_hash in _find_disputed(current):
        receipts.pop(tx_hash, None)
    return receipts


def _is_own_block(view: NodeView, receipt: Receipt) -> bool:
    known = view.blocks.get(receipt.block_number)
    return known is None or known == receipt.block_hash


def _find_without_receipt(current: Sequence[NodeView]) -> frozenset[str]:
    hashes = {tx_hash for view in current for tx_hash in view.receipts}
    return frozenset(
        tx_hash
        for tx_hash in hashes
        if all(view.receipts.get(tx_hash, "not read") is None for view in current)
    )


def _is_complete(current: Sequence[NodeView]) -> bool:
    """Whether each answered what another was asked too."""
    transactions = {tx_hash for view in current for tx_hash in view.receipts}
    heights = {height for view in current for height in view.blocks}
    return all(
        transactions <= view.receipts.keys() and heights <= view.blocks.keys() for view in current
    )


def _age(block: Block, now: datetime) -> timedelta:
    return max(now - datetime.fromtimestamp(block.timestamp, tz=UTC), timedelta(0))
