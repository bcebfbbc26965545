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
        return _read(answer)

    async def call_batch(self, requests: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Return the results of calls that anvil never refuses, in order, from one round trip.

        Raises: Transient.
        """
        if not requests:
            return []
        calls = [
            {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
            for method, params in requests
        ]
        answer_by_id = {each["id"]: each for each in await self._post(calls)}
        return [_read(answer_by_id[each["id"]])["result"] for each in calls]

    async def call(self, method: str, *params: Any) -> Any:
        """Return the result of a call. Raises: Transient; Refused with anvil's error."""
        answer = await self.pass_on(method, params)
        if "error" in answer:
            error = answer["error"]
            raise Refused(error["message"], error["code"], data=error.get("data"))
        return answer["result"]

    async def fetch_accounts(self, addresses: Sequence[str]) -> dict[str, AccountState]:
        """The accounts as of the head, by address as given."""
        requests = [
            (method, [address, "latest"])
            for address in addresses
            for method in ("eth_getTransactionCount", "eth_getBalance")
        ]
        numbers = iter([int(each, 16) for each in await self.call_batch(requests)])
        return {
            each: AccountState(nonce=next(numbers), balance=next(numbers)) for each in addresses
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

    async def _post(self, body: Any) -> Any:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                self.url, data=orjson.dumps(body), headers=headers
            ) as response:
                return orjson.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Transient(f"no answer from anvil: {type(error).__name__}") from error


def _read(answer: Mapping[str, Any]) -> Answer:
    if "error" in answer:
        return {"error": answer["error"]}
    return {"result": answer.get("result")}
