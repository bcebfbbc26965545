"""What a node is asked about an operator wallet in a round, and its answers as a view. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from services.tx_monitor.decisions.transfers import Transfer
from services.tx_monitor.decisions.views import NodeView
from shared.chain.answers import NodeRefused, Request, parse_object, parse_quantity
from shared.chain.blocks import Block, Receipt, parse_block, parse_receipt
from shared.domain.errors import Transient

MAX_WEI = 2**256 - 1
FEE_BLOCKS = 10
"""How many of the last blocks' tips are looked at."""
FEE_PERCENTILE = 60
Key = TypeVar("Key", str, int)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    operator: str
    hashes: tuple[str, ...]
    """Of the attempts."""
    heights: tuple[int, ...]
    """Of the blocks that attempts were seen in before."""

    @classmethod
    def build(cls, operator: str, transfers: Sequence[Transfer]) -> Self:
        return cls(
            operator=operator,
            hashes=tuple(each.tx_hash for transfer in transfers for each in transfer.attempts),
            heights=tuple(
                sorted({each.block_number for each in transfers if each.block_number is not None})
            ),
        )

    def build_requests(self) -> list[Request]:
        """The requests of ``parse_view``."""
        return [
            ("eth_getBlockByNumber", ("latest", False)),
            ("eth_getTransactionCount", (self.operator, "latest")),
            ("eth_getBalance", (self.operator, "latest")),
            ("eth_feeHistory", (hex(FEE_BLOCKS), "latest", [FEE_PERCENTILE])),
            ("eth_getBlockByNumber", ("finalized", False)),
            ("eth_maxPriorityFeePerGas", ()),
        ]

    def build_lookups(self, view: NodeView) -> list[Request]:
        """The requests of ``add_lookups``, to be answered by a node that knows the view's head."""
        lookups: list[Request] = [
            *(("eth_getTransactionReceipt", (each,)) for each in self.hashes),
            *(("eth_getTransactionByHash", (each,)) for each in self.hashes),
            *build_block_requests(self.heights),
        ]
        if view.finalized is None:
            return lookups
        return [
            *lookups,
            ("eth_getTransactionCount", (self.operator, hex(view.finalized.number))),
        ]


def build_block_requests(heights: Sequence[int]) -> list[Request]:
    """The requests of ``add_blocks``."""
    return [("eth_getBlockByNumber", (hex(height), False)) for height in heights]


def list_new_heights(view: NodeView) -> list[int]:
    """The blocks of receipts that the view does not have."""
    found = {each.block_number for each in view.receipts.values() if each is not None}
    return sorted(found - view.blocks.keys())


def parse_view(name: str, answers: Sequence[Any]) -> NodeView:
    """The view before anything was looked up. Raises: Transient where the node refuses, or answers
    with nonsense, what every view needs.
    """
    head, nonce, balance, fees = map(_require_answer, answers[:4])
    finalized, tip = answers[4:]
    base_fee, rewards = _parse_fees(fees)
    return NodeView(
        name=name,
        head=parse_block(head),
        finalized=_parse_finalized(finalized),
        base_fee=base_fee,
        rewards=rewards,
        node_tip=_parse_tip(tip),
        nonce=parse_quantity(nonce, "transaction count"),
        final_nonce=None,
        gas_balance=parse_quantity(balance, "balance", maximum=MAX_WEI),
        receipts={},
        pooled=frozenset(),
        blocks={},
    )


def add_lookups(view: NodeView, question: Question, answers: Sequence[Any]) -> NodeView:
    """The view with what the node knows of the attempts, the blocks that they were seen in and,
    where a block is final, the count of transactions as of it. What could not be read is missing.
    """
    hashes, heights = question.hashes, question.heights
    pool_start, blocks_start = len(hashes), 2 * len(hashes)
    count_start = blocks_start + len(heights)
    receipts, unreadable = _read_each(hashes, answers[:pool_start], _read_receipt)
    pooled = zip(hashes, answers[pool_start:blocks_start], strict=True)
    counts = answers[count_start:]
    names = ["final transaction count"] * len(counts)
    final_nonces, unreadable_counts = _read_each(names, counts, _read_count)
    found = replace(
        view,
        receipts=receipts,
        pooled=frozenset(tx_hash for tx_hash, answer in pooled if isinstance(answer, dict)),
        final_nonce=next(iter(final_nonces.values()), None),
        unreadable=(*view.unreadable, *unreadable, *unreadable_counts),
    )
    return add_blocks(found, heights, answers[blocks_start:count_start])


def add_blocks(view: NodeView, heights: Sequence[int], answers: Sequence[Any]) -> NodeView:
    """The view with the hashes of these blocks too. What could not be read is missing."""
    blocks, unreadable = _read_each(heights, answers, _read_hash)
    return replace(
        view,
        blocks={**view.blocks, **blocks},
        unreadable=(*view.unreadable, *unreadable),
    )


def _read_each(
    keys: Sequence[Key], answers: Sequence[Any], read: Callable[[Key, Any], Value]
) -> tuple[dict[Key, Value], list[str]]:
    """What was read by what was asked for, without what the node refused, and what is wrong with
    the answers that cannot be read: one of them must not hide the others.
    """
    found: dict[Key, Value] = {}
    unreadable = []
    for key, answer in zip(keys, answers, strict=True):
        if isinstance(answer, NodeRefused):
            continue
        try:
            found[key] = read(key, answer)
        except Transient as error:
            unreadable.append(str(error))
    return found, unreadable


def _read_receipt(tx_hash: str, answer: Any) -> Receipt | None:
    return parse_receipt(answer, tx_hash=tx_hash)


def _read_count(name: str, answer: Any) -> int:
    return parse_quantity(answer, name)


def _read_hash(height: int, answer: Any) -> str | None:
    return None if answer is None else parse_block(answer, number=height).hash


def _require_answer(answer: Any) -> Any:
    """Raises: NodeRefused."""
    if isinstance(answer, NodeRefused):
        raise answer
    return answer


def _parse_finalized(answer: Any) -> Block | None:
    """None where the node names none. Raises: Transient, also where it limits how often it is
    asked: that says nothing about the block.
    """
    if answer is None:
        return None
    if isinstance(answer, NodeRefused):
        if answer.is_about_access:
            raise answer
        return None
    return parse_block(answer)


def _parse_tip(answer: Any) -> int | None:
    return parse_quantity(answer, "tip") if isinstance(answer, str) else None


def _parse_fees(answer: Any) -> tuple[int, tuple[int, ...]]:
    """The base fee of the next block, and the tips of the last ones, in wei. Raises: Transient."""
    history = parse_object(answer, "fee history")
    base_fees, rewards = history.get("baseFeePerGas"), history.get("reward")
    if not isinstance(base_fees, list) or not base_fees:
        raise Transient("the node's fee history has no base fees")
    tips = [each[0] for each in rewards or () if isinstance(each, list) and each]
    return (
        parse_quantity(base_fees[-1], "base fee"),
        tuple(parse_quantity(tip, "reward") for tip in tips),
    )
