"""The connection to anvil: answers as they come, for passing on."""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import aiohttp
import orjson

from services.paper_venue.polygon_node.pool import AccountState
from services.paper_venue.polygon_node.refusals import Refused
from shared.domain.errors import Transient

Answer = Mapping[str, Any]
"""``result`` or ``error`` of a JSON-RPC answer."""

_HEADER_ONLY = False
"""Second parameter of eth_getBlockByNumber: transactions as hashes."""
_TIMEOUT_S = 120
"""A busy machine may let anvil wait long."""


class Upstream:
    """Anvil, over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._ids = count(1)
        self._session: aiohttp.ClientSession | None = None

    async def pass_on(self, method: str, params: Sequence[Any]) -> Answer:
        """Return anvil's answer to a request as it is, an error too. Raises: Transient."""
        call = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        answer: Answer = await self._post(call)
        return {"error": answer["error"]} if "error" in answer else {"result": answer.get("result")}

    async def call(self, method: str, *params: Any) -> Any:
        """Return the result of a call. Raises: Transient; Refused with anvil's error."""
        answer = await self.pass_on(method, params)
        if "error" in answer:
            error = answer["error"]
            raise Refused(error["message"], error["code"], data=error.get("data"))
        return answer["result"]

    async def fetch_accounts(self, addresses: Sequence[str]) -> dict[str, AccountState]:
        """The accounts as of the head, by address as given."""
        return {
            each: AccountState(
                nonce=int(await self.call("eth_getTransactionCount", each, "latest"), 16),
                balance=int(await self.call("eth_getBalance", each, "latest"), 16),
            )
            for each in addresses
        }

    async def fetch_header(self, block: str = "latest") -> dict[str, Any]:
        """A block with its transactions' hashes. Raises: Transient where there is none."""
        header: dict[str, Any] | None = await self.call("eth_getBlockByNumber", block, _HEADER_ONLY)
        if header is None:
            raise Transient(f"anvil has no block {block}")
        return header

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _post(self, call: Mapping[str, Any]) -> Any:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                self.url, data=orjson.dumps(call), headers=headers
            ) as response:
                return orjson.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Transient(f"no answer from anvil: {type(error).__name__}") from error
