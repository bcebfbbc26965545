"""The chain nodes that transfers are sent to and looked up at."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from services.tx_monitor.adapters.changes import Changes
from services.tx_monitor.adapters.node_answers import Question, parse_blocks, parse_view
from services.tx_monitor.decisions.transfers import Transfer
from services.tx_monitor.decisions.views import NodeView
from shared.chain.answers import NodeRefused, parse_quantity
from shared.chain.reverts import describe_revert, is_revert
from shared.chain.rpc import Rpc
from shared.chain.send_answers import SendAnswer, classify_refusal
from shared.chain.transfer_calls import Call
from shared.domain.errors import Transient

logger = logging.getLogger(__name__)


class CallReverted(Exception):
    """The contract would refuse the call. The text is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendAnswers:
    """What the nodes said to a transaction."""

    answers: tuple[SendAnswer, ...]
    """Of the nodes that answered."""
    texts: tuple[str, ...]
    """What a node that may not have it said, or why it did not answer; with the node's name."""

    @property
    def is_refused(self) -> bool:
        """Whether every node that answered says that it can never be valid."""
        return bool(self.answers) and all(each is SendAnswer.INVALID for each in self.answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    name: str
    """Which of the nodes, in logs: an address may contain a key."""
    rpc: Rpc

    async def observe(self, question: Question) -> NodeView:
        """Raises: Transient where it does not answer what every view needs."""
        view = parse_view(self.name, question, await self.rpc.call_each(question.build_requests()))
        heights = question.list_heights(view)
        requests = question.build_block_requests(view, heights)
        answers = await self.rpc.call_each(requests, seen_block=view.head.number)
        return parse_blocks(view, heights, answers)

    async def send(self, raw: bytes) -> tuple[SendAnswer | None, str]:
        """What it answers, None: nothing; and its text where it may not have the transaction."""
        try:
            await self.rpc.call("eth_sendRawTransaction", f"0x{raw.hex()}")
        except NodeRefused as refusal:
            answer = classify_refusal(refusal)
            has_it = answer is SendAnswer.KNOWN
            return answer, "" if has_it else f"node {self.name}: {refusal.text}"
        except Transient as error:
            return None, f"node {self.name}: {error}"
        return SendAnswer.ACCEPTED, ""

    async def estimate_gas(self, operator: str, call: Call) -> int | CallReverted | Transient:
        """The gas that the call would need now, or why that is not known."""
        transaction = {"from": operator, "to": call.to, "data": f"0x{call.data.hex()}"}
        try:
            return parse_quantity(await self.rpc.call("eth_estimateGas", transaction), "gas")
        except NodeRefused as refusal:
            return CallReverted(describe_revert(refusal)) if is_revert(refusal) else refusal
        except Transient as error:
            return error


class ChainNodes:
    """All nodes, which are asked at once."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = tuple(nodes)
        self._changes = Changes()

    @property
    def count(self) -> int:
        return len(self._nodes)

    async def observe(self, operator: str, transfers: Sequence[Transfer]) -> list[NodeView]:
        """What each node shows of the wallet and its open transfers; a node that fails is left
        out.
        """
        question = Question.build(operator, transfers)
        views = await asyncio.gather(*(self._observe(node, question) for node in self._nodes))
        return [view for view in views if view is not None]

    async def send(self, raw: bytes) -> SendAnswers:
        """Send the transaction to every node."""
        results = await asyncio.gather(*(node.send(raw) for node in self._nodes))
        return SendAnswers(
            answers=tuple(answer for answer, _ in results if answer is not None),
            texts=tuple(text for _, text in results if text),
        )

    async def estimate_gas(self, operator: str, call: Call) -> int:
        """The gas that the call would need now, by the node that says most.

        Raises: CallReverted where every node that knows says that it would revert: one that is
        behind may not have seen yet what makes it possible; Transient where no node knows.
        """
        results = await asyncio.gather(*(node.estimate_gas(operator, call) for node in self._nodes))
        if estimates := [each for each in results if isinstance(each, int)]:
            return max(estimates)
        _raise_first(each for each in results if isinstance(each, CallReverted))
        _raise_first(each for each in results if isinstance(each, Transient))
        raise Transient("there is no chain node")

    async def _observe(self, node: Node, question: Question) -> NodeView | None:
        try:
            view = await node.observe(question)
        except Transient as error:
            if self._changes.is_new(node.name, str(error)):
                logger.warning("node %s cannot be read: %s", node.name, error)
            return None
        if self._changes.is_new(node.name, ""):
            logger.info("node %s is read again", node.name)
        return view

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in self._nodes:
            await node.rpc.close()


def _raise_first(errors: Iterable[Exception]) -> None:
    for error in errors:
        raise error


def open_nodes(urls: Sequence[str], *, timeout_s: float) -> ChainNodes:
    """``timeout_s``: for one request. It is an async context manager that closes connections."""
    return ChainNodes(
        [
            Node(name=str(number), rpc=Rpc(url, timeout_s=timeout_s))
            for number, url in enumerate(urls, start=1)
        ]
    )
