"""The chain nodes that transfers are sent to and looked up at."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from services.tx_monitor.adapters.changes import Changes
from services.tx_monitor.adapters.node_answers import (
    Question,
    add_blocks,
    add_lookups,
    build_block_requests,
    list_new_heights,
    parse_view,
)
from services.tx_monitor.decisions.transfers import Transfer
from services.tx_monitor.decisions.views import NodeView
from shared.chain.addresses import POLYGON_CHAIN_ID
from shared.chain.answers import NodeRefused, parse_quantity
from shared.chain.reverts import describe_revert, is_out_of_gas, is_revert
from shared.chain.rpc import Rpc
from shared.chain.send_answers import SendAnswer, classify_refusal
from shared.chain.transfer_calls import Call
from shared.domain.errors import Transient

logger = logging.getLogger(__name__)


class CallReverted(Exception):
    """The contract would refuse the call. The text is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendAnswers:
    """What the nodes that were waited for said to a transaction."""

    answers: tuple[SendAnswer, ...]
    """Of the nodes that answered."""
    texts: tuple[str, ...]
    """What a node that may not have it said, or why it did not answer; with the node's name."""
    silent: frozenset[str] = frozenset()
    """The names of the nodes that did not answer."""

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
        """Behind one address may be several nodes: whatever is looked up after the head is answered
        by one that knows it. Raises: Transient where it does not answer what every view needs.
        """
        view = parse_view(self.name, await self.rpc.call_each(question.build_requests()))
        head = view.head.number
        lookups = await self.rpc.call_each(question.build_lookups(view), seen_block=head)
        view = add_lookups(view, question, lookups)
        heights = list_new_heights(view)
        blocks = await self.rpc.call_each(build_block_requests(heights), seen_block=head)
        return add_blocks(view, heights, blocks)

    async def fetch_chain_id(self) -> int:
        """Raises: Transient."""
        return parse_quantity(await self.rpc.call("eth_chainId"), "chain id")

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

    async def estimate_gas(
        self, operator: str, call: Call, *, allowed: int, seen_block: int
    ) -> int | CallReverted | Transient:
        """The gas that the call would need now, at most ``allowed``, or why that is not known."""
        transaction = {
            "from": operator,
            "to": call.to,
            "data": f"0x{call.data.hex()}",
            "gas": hex(allowed),
        }
        try:
            (answer,) = await self.rpc.call_batch(
                [("eth_estimateGas", (transaction,))], seen_block=seen_block
            )
            needed = parse_quantity(answer, "gas")
        except NodeRefused as refusal:
            return _read_refusal(refusal, allowed)
        except Transient as error:
            return error
        if needed > allowed:
            return CallReverted(f"it needs {needed} gas, and {allowed} are allowed")
        return needed


def _read_refusal(refusal: NodeRefused, allowed: int) -> CallReverted | NodeRefused:
    """What a node's refusal to estimate says about the call; itself where it says nothing."""
    if is_out_of_gas(refusal):
        return CallReverted(f"it needs more than {allowed} gas, and no more are allowed")
    return CallReverted(describe_revert(refusal)) if is_revert(refusal) else refusal


class ChainNodes:
    """All nodes, which are asked at once."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = tuple(nodes)
        self._changes = Changes()
        self._chain_ids: dict[str, int] = {}
        """By the names of the nodes, as far as is known since they failed last."""
        self._unawaited: set[asyncio.Task[None]] = set()

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

    async def send(self, raw: bytes, *, awaited: Collection[str]) -> SendAnswers:
        """Send the transaction to every node of this chain. ``awaited``: the names of those whose
        answers are waited for; one that hangs would hold up whatever comes after it.
        """
        nodes = [node for node in self._nodes if not self._is_foreign(node)]
        for node in nodes:
            if node.name not in awaited:
                self._send_unawaited(node, raw)
        asked = [node for node in nodes if node.name in awaited]
        results = await asyncio.gather(*(node.send(raw) for node in asked))
        return SendAnswers(
            answers=tuple(answer for answer, _ in results if answer is not None),
            texts=tuple(text for _, text in results if text),
            silent=frozenset(
                node.name
                for node, (answer, _) in zip(asked, results, strict=True)
                if answer is None
            ),
        )

    async def estimate_gas(
        self, operator: str, call: Call, *, allowed: int, heads: Mapping[str, int]
    ) -> int:
        """The gas that the call would need now, by the node that says most. ``heads``: the names of
        the nodes that are asked, with the block that the answer is of, or a later one.

        Raises: CallReverted where all of them say that it would revert, or needs more gas than is
        allowed; Transient where none can say how much it needs, and not all say that.
        """
        results = await asyncio.gather(
            *(
                node.estimate_gas(operator, call, allowed=allowed, seen_block=heads[node.name])
                for node in self._nodes
                if node.name in heads
            )
        )
        if estimates := [each for each in results if isinstance(each, int)]:
            return max(estimates)
        _raise_first(each for each in results if isinstance(each, Transient))
        _raise_first(each for each in results if isinstance(each, CallReverted))
        raise Transient("no chain node is up to date")

    def _send_unawaited(self, node: Node, raw: bytes) -> None:
        task = asyncio.create_task(self._send_and_log(node, raw))
        self._unawaited.add(task)
        task.add_done_callback(self._unawaited.discard)

    async def _send_and_log(self, node: Node, raw: bytes) -> None:
        _, text = await node.send(raw)
        if self._changes.is_new(f"sending to {node.name}", text) and text:
            logger.warning("a transaction may not have reached %s", text)

    def _is_foreign(self, node: Node) -> bool:
        return self._chain_ids.get(node.name, POLYGON_CHAIN_ID) != POLYGON_CHAIN_ID

    async def _is_of_this_chain(self, node: Node) -> bool:
        """Asked once, and again after a failure: then another node may have its address.

        Raises: Transient.
        """
        if self._chain_ids.get(node.name) == POLYGON_CHAIN_ID:
            return True
        chain_id = self._chain_ids[node.name] = await node.fetch_chain_id()
        if chain_id == POLYGON_CHAIN_ID:
            return True
        text = f"it is of chain {chain_id}, not of Polygon ({POLYGON_CHAIN_ID})"
        if self._changes.is_new(node.name, text):
            logger.error("node %s is left out: %s", node.name, text)
        return False

    async def _observe(self, node: Node, question: Question) -> NodeView | None:
        try:
            if not await self._is_of_this_chain(node):
                return None
            view = await node.observe(question)
        except Transient as error:
            self._chain_ids.pop(node.name, None)
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
        # Each ends within the time that a node has for an answer.
        await asyncio.gather(*self._unawaited)
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
