"""How a running paper venue is asked for what no real one gives: funded accounts, leader trades on demand, counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    proxy: str
    signer: str
    kind: str
    private_key: str = field(repr=False)


class VenueControl:
    """The venue's control endpoint."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120), raise_for_status=True)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def world(self) -> Mapping[str, Any]:
        return await self._get("/world")

    async def stats(self) -> Mapping[str, Any]:
        return await self._get("/stats")

    async def accounts(self, kind: str, count: int, *, usdc: str) -> list[Account]:
        made = await self._post("/accounts", kind=kind, count=count, usdc=usdc)
        return [Account(**account) for account in made]

    async def start_leaders(self, *, trades: int, per_second: str) -> None:
        await self._post("/leaders/start", trades=trades, per_second=per_second)

    async def stop_leaders(self) -> None:
        await self._post("/leaders/stop")

    async def leader_trade(self, *, leader: str, token: str, side: str, usdc: str) -> Mapping[str, Any]:
        return await self._post("/leader-trade", leader=leader, token=token, side=side, usdc=usdc)  # type: ignore[no-any-return]

    async def _get(self, path: str) -> Mapping[str, Any]:
        async with self._session.get(self._url + path) as response:
            return await response.json()  # type: ignore[no-any-return]

    async def _post(self, path: str, **asked: Any) -> Any:
        async with self._session.post(self._url + path, json=asked) as response:
            return await response.json()
