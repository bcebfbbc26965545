"""What a node is asked about an operator wallet in a round, and its answers as a view. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from services.tx_monitor.decisions.transfers import Transfer
from services.tx_monitor.decisions.views import NodeView
from shared.chain.answers import NodeRefused, Request, parse_object, parse_quantity
from shared.chain.blocks import Block, Receipt, parse_block, parse_receipt
from shared.domain.errors import Transient

MAX_WEI = 2**256 - 1
FEE_BLOCKS = 10
"""How many of the last blocks' tips are looked at."""
FEE_PERCENTILE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    operator: str
    hashes: tuple[str, ...]
    """Of the attempts."""
    recorded_heights: frozenset[int]
    """Of the blocks that attempts were seen in."""

    @classmethod
    def build(cls, operator: str, transfers: Sequence[Transfer]) -> Self:
        return cls(
            operator=operator,
            hashes=tuple(each.tx_hash for transfer in transfers for each in transfer.attempts),
            recorded_heights=frozenset(
                transfer.block_number for transfer in transfers if transfer.block_number is not None
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
            *(("eth_getTransactionReceipt", (each,)) for each in self.hashes),
            *(("eth_getTransactionByHash", (each,)) for each in self.hashes),
        ]

    def list_heights(self, view: NodeView) -> list[int]:
        """The blocks whose hashes are needed, to know what is in the chain."""
        found = {each.block_number for each in view.receipts.values() if each is not None}
        return sorted(found | self.recorded_heights)

    def build_block_requests(self, view: NodeView, heights: Sequence[int]) -> list[Request]:
        """The requests of ``parse_blocks``."""
        blocks: list[Request] = [
            ("eth_getBlockByNumber", (hex(height), False)) for height in heights
        ]
        if view.finalized is None:
            return blocks
        return [
            *blocks,
            ("eth_getTransactionCount", (self.operator, hex(view.finalized.number))),
        ]


def parse_view(name: str, question: Question, answers: Sequence[Any]) -> NodeView:
    """The view without ``blocks`` and ``final_nonce``. Raises: Transient where the node refuses, or
    answers with nonsense, what every view needs.
    """
    head, nonce, balance, fees = map(_require_answer, answers[:4])
    finalized, tip = answers[4:6]
    count = len(question.hashes)
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
        receipts=_parse_receipts(question.hashes, answers[6 : 6 + count]),
        pooled=frozenset(
            tx_hash
            for tx_hash, answer in zip(question.hashes, answers[6 + count :], strict=True)
            if isinstance(answer, dict)
        ),
        blocks={},
    )


def parse_blocks(view: NodeView, heights: Sequence[int], answers: Sequence[Any]) -> NodeView:
    """The view with hashes of blocks and, where a block is final, the count of transactions as of
    it. What could not be read is missing.
    """
    blocks: dict[int, str | None] = {}
    for height, answer in zip(heights, answers, strict=False):
        if isinstance(answer, NodeRefused):
            continue
        blocks[height] = None if answer is None else parse_block(answer, number=height).hash
    count = answers[len(heights)] if len(answers) > len(heights) else None
    return replace(
        view,
        blocks=blocks,
        final_nonce=parse_quantity(count, "transaction count") if isinstance(count, str) else None,
    )


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


def _parse_receipts(hashes: Sequence[str], answers: Sequence[Any]) -> dict[str, Receipt | None]:
    return {
        tx_hash: parse_receipt(answer, tx_hash=tx_hash)
        for tx_hash, answer in zip(hashes, answers, strict=True)
        if not isinstance(answer, NodeRefused)
    }
