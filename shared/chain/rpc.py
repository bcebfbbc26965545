"""JSON-RPC client of a chain node. A failure is an exception, never an empty result.

    Transient            an answer that cannot be read (shared.domain.errors)
    ├── NoAnswer         there is none: not in time, no connection, or a gateway's error page
    ├── NodeRefused      the node answered with an error: its code and text are attributes
    └── AnswersMissing   the node left out some requests of a batch

Error texts never contain the node's address: provider URLs contain API keys.
"""

import re
from collections.abc import Sequence
from itertools import count
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
import orjson
from web3.exceptions import Web3Exception

from shared.chain.answers import (
    MAX_TEXT,
    AnswersMissing,
    NoAnswer,
    NodeRefused,
    Request,
    names_batch_size,
    parse_answers,
    parse_quantity,
)
from shared.chain.blocks import Block, parse_block
from shared.chain.limits import Limit
from shared.chain.provider import RawProvider
from shared.domain.errors import Transient

__all__ = ["AnswersMissing", "NoAnswer", "NodeRefused", "Request", "Rpc"]

MAX_BATCH = 100
"""Requests in one round trip: many providers answer no larger batch."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
MIN_SECRET_LENGTH = 4
"""Shorter parts of an address are words such as ``v2``."""


class Rpc:
    """JSON-RPC over HTTP with one keep-alive session; for concurrent use on one event loop."""

    def __init__(self, url: str, *, timeout_s: float = 10) -> None:
        self._provider = RawProvider(url, timeout_s=timeout_s)
        self._ids = count(1)
        self._batch_size = Limit(MAX_BATCH)
        self._secrets = _list_secrets(url)

    async def call(self, method: str, *params: Any) -> Any:
        """Make one call and return its result. Raises: Transient, NodeRefused."""
        (result,) = await self.call_batch([(method, params)])
        return result

    async def call_batch(
        self, requests: Sequence[Request], *, seen_block: int | Block | None = None
    ) -> list[Any]:
        """Make all calls and return their results, in order. ``seen_block``: as in ``call_each``.

        Raises: Transient; NodeRefused for the first call that the node refused.
        """
        answers = await self.call_each(requests, seen_block=seen_block)
        for answer in answers:
            if isinstance(answer, NodeRefused):
                raise answer
        return answers

    async def call_each(
        self, requests: Sequence[Request], *, seen_block: int | Block | None = None
    ) -> list[Any]:
        """Make all calls and return, in order, the result of each, or the NodeRefused that it
        failed with.

        They go out in one round trip, or in as many as the node needs: what it refuses as a batch
        is halved, and goes out again. ``seen_block``: each round trip is answered by a node that
        knows this block, by its number, or by its hash too; the nodes behind a load balancer may
        differ.

        Raises: Transient; NodeRefused where the node refuses even one request alone.
        """
        answers: list[Any] = []
        allowed, guards = self._batch_size.value, 0 if seen_block is None else 1
        while len(answers) < len(requests):
            chunk = requests[len(answers) :][: max(1, allowed - guards)]
            try:
                answers += await self._ask(chunk, seen_block)
            except (NodeRefused, AnswersMissing) as error:
                if len(chunk) == 1 or not error.may_be_size:
                    raise
                allowed = len(chunk) // 2 + guards
            else:
                self._batch_size.worked(allowed, used=len(chunk) + guards)
        return answers

    async def _ask(self, requests: Sequence[Request], seen_block: int | Block | None) -> list[Any]:
        if seen_block is None:
            answers = await self._exchange(requests)
        else:
            known, *answers = await self._exchange([_build_question(seen_block), *requests])
            _require_seen(known, seen_block)
        refusal = names_batch_size(answers)
        if refusal is not None and len(requests) > 1:
            raise refusal
        return answers

    async def _exchange(self, requests: Sequence[Request]) -> list[Any]:
        """One round trip. Raises: Transient; NodeRefused where the node refuses the whole of it."""
        ids = [next(self._ids) for _ in requests]
        methods = [method for method, _ in requests]
        calls = [
            {"jsonrpc": "2.0", "id": each, "method": method, "params": list(params)}
            for each, (method, params) in zip(ids, requests, strict=True)
        ]
        # One request goes alone: there are nodes that take no batches.
        status, raw = await self._post(calls[0] if len(calls) == 1 else calls, what=methods[0])
        return parse_answers(raw, status=status, ids=ids, methods=methods, clean=self._clean)

    async def _post(self, payload: object, *, what: str) -> tuple[int, bytes]:
        try:
            return await self._provider.post(orjson.dumps(payload))
        except (aiohttp.ClientError, Web3Exception, OSError, ValueError) as error:
            # `from None`: the original's text may contain the provider's URL.
            raise NoAnswer(
                f"no answer from the chain node ({what}): {type(error).__name__}"
            ) from None

    def _clean(self, text: str) -> str:
        """One line of a node's text, without addresses and the parts of the node's own."""
        text = _ADDRESS.sub("…", text)
        for secret in self._secrets:
            text = text.replace(secret, "…")
        line = "".join(each if each.isprintable() else " " for each in text)
        return " ".join(line.split())[:MAX_TEXT]

    async def close(self) -> None:
        await self._provider.close()


def _build_question(block: int | Block) -> Request:
    """What a node is asked to find out whether it knows the block."""
    if isinstance(block, Block):
        return "eth_getBlockByNumber", (hex(block.number), False)
    return "eth_blockNumber", ()


def _require_seen(answer: Any, block: int | Block) -> None:
    """Raises: Transient where the node has not seen the block: some nodes answer a height that
    they have not seen as the latest, and a range beyond their head with what they have.
    """
    if isinstance(answer, NodeRefused):
        raise answer
    if isinstance(block, Block):
        found = parse_block(answer, number=block.number)
        if found.hash.lower() != block.hash.lower():
            raise Transient(f"the node has {found.hash} as block {block.number}, not {block.hash}")
        return
    number = parse_quantity(answer, "block number")
    if number < block:
        raise Transient(f"the node is at block {number}, before {block}")


def _list_secrets(url: str) -> list[str]:
    """The parts of an address that texts must not repeat, the longest first."""
    parts = urlsplit(url)
    values = [each.partition("=")[2] for each in parts.query.split("&")]
    found = [url, parts.netloc, parts.username, parts.password, *parts.path.split("/"), *values]
    spellings = {text for each in found if each for text in (each, unquote(each))}
    return sorted(
        (each for each in spellings if len(each) >= MIN_SECRET_LENGTH), key=len, reverse=True
    )
