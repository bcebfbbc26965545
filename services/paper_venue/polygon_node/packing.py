"""Chooses the transactions of the next block. Pure."""

import heapq
from collections.abc import Callable, Iterable, Sequence

from services.paper_venue.polygon_node.pool import Pooled
from services.paper_venue.polygon_node.transactions import Transaction


def pick_transactions(
    pending: Iterable[Sequence[Pooled]],
    *,
    base_fee: int,
    tip_floor: int,
    block_gas: int,
    is_held: Callable[[Transaction], bool],
) -> list[Transaction]:
    """Return what goes into a block, in its order: by what each pays the producer, what came first
    before what came later, and of one account by nonce.

    ``pending``: of each account, by nonce and without a gap. A transaction that is held, that the
    base fee leaves less than ``tip_floor``, or that does not fit keeps back those behind it. Gas is
    counted by limits, because what is used is not known yet. Fees in wei per gas.
    """
    waiting = [list(each) for each in pending if each]
    heads = [_rank(each[0], base_fee, position) for position, each in enumerate(waiting)]
    heapq.heapify(heads)
    picked, places = [], [0] * len(waiting)
    while heads:
        position = heads[0][2]
        transaction = waiting[position][places[position]].transaction
        is_payable = transaction.compute_tip(base_fee) >= tip_floor
        if not is_payable or transaction.gas > block_gas or is_held(transaction):
            heapq.heappop(heads)
            continue
        picked.append(transaction)
        block_gas -= transaction.gas
        places[position] += 1
        if places[position] == len(waiting[position]):
            heapq.heappop(heads)
        else:
            following = waiting[position][places[position]]
            heapq.heapreplace(heads, _rank(following, base_fee, position))
    return picked


def _rank(pooled: Pooled, base_fee: int, position: int) -> tuple[int, int, int]:
    """The best first, for a heap."""
    return -pooled.transaction.compute_tip(base_fee), pooled.arrival, position
