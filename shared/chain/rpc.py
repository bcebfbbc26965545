"""JSON-RPC client of a chain node. A failure is an exception, never an empty result.

    Transient            no answer from the node, or an unreadable one (shared.domain.errors)
    └── NodeRefused      the node answered with an error: its code and text are attributes

Error texts never contain the node's address: provider URLs contain API keys.
"""

from collections.abc import Sequence
from typing import Any

import aiohttp
from web3 import AsyncHTTPProvider
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

from shared.domain.errors import Transient

Request = tuple[str, Sequence[Any]]

MAX_CONNECTIONS = 16


class NodeRefused(Transient):
    """The node answered a request with a JSON-RPC error."""

    def __init__(self, method: str, code: int, text: str) -> None:
        super().__init__(f"{method}: the node refused ({code}): {text}")
        self.code = code
        self.text = text


class Rpc:
    """JSON-RPC over HTTP with one keep-alive session; for concurrent use on one event loop."""

    def __init__(self, url: str, *, timeout_s: int = 10) -> None:
        # No retries here: only the caller knows whether a late answer is still of use.
        self._provider = AsyncHTTPProvider(
            url,
            request_kwargs={"timeout": aiohttp.ClientTimeout(total=timeout_s)},
            exception_retry_configuration=None,
        )
        self._is_connected = False

    async def call(self, method: str, *params: Any) -> Any:
        """Make one call and return its result. Raises: Transient, NodeRefused."""
        (answer,) = await self.batch([(method, params)])
        return _result(method, answer)

    async def call_batch(self, requests: Sequence[Request]) -> list[Any]:
        """Make all calls in one round trip and return their results, in order.

        Raises: Transient; NodeRefused for the first call that the node refused.
        """
        answers = await self.batch(requests)
        return [
            _result(method, answer) for (method, _), answer in zip(requests, answers, strict=True)
        ]

    async def batch(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """Make all calls in one round trip; return the raw answers (``result`` or ``error``), in
        order.

        Raises: Transient.
        """
        if not requests:
            return []
        try:
            await self._connect()
            answers = await self._provider.make_batch_request(
                [(RPCEndpoint(method), list(params)) for method, params in requests]
            )
        except (aiohttp.ClientError, Web3Exception, OSError, TimeoutError, ValueError) as error:
            # `from None`: the original's text may contain the provider's URL.
            raise Transient(
                f"no answer from the chain node ({requests[0][0]}): {type(error).__name__}"
            ) from None
        if not isinstance(answers, list):
            _result("batch", dict(answers))
            raise Transient("the chain node did not answer a batch with a list")
        if len(answers) != len(requests):
            raise Transient(f"the chain node answered {len(answers)} of {len(requests)} requests")
        return [dict(answer) for answer in answers]

    async def _connect(self) -> None:
        """Keep connections open between calls: web3's own session closes them after each."""
        if not self._is_connected:
            self._is_connected = True
            connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS)
            await self._provider.cache_async_session(
                aiohttp.ClientSession(raise_for_status=True, connector=connector)
            )

    async def close(self) -> None:
        await self._provider.disconnect()


def _result(method: str, answer: dict[str, Any]) -> Any:
    error = answer.get("error")
    if error is not None:
        raise NodeRefused(method, int(error.get("code", 0)), str(error.get("message", "")))
    if "result" not in answer:
        raise Transient(f"{method}: neither a result nor an error")
    return answer["result"]
