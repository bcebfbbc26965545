"""A client of the paper venue's control endpoint: accounts, leader trades, faults, counts."""

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


class VenueRefused(Exception):
    """The control endpoint refuses a request; the text is its own."""


class VenueControl:
    """The venue's control endpoint."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def fetch_world(self) -> Mapping[str, Any]:
        return await self._get("/world")

    async def fetch_stats(self) -> Mapping[str, Any]:
        return await self._get("/stats")

    async def create_accounts(self, kind: str, count: int, *, usdc: str) -> list[Account]:
        made = await self._post("/accounts", kind=kind, count=count, usdc=usdc)
        return [Account(**account) for account in made]

    async def create_accounts_with_api_keys(
        self, kind: str, count: int, *, usdc: str
    ) -> list[Mapping[str, Any]]:
        """The accounts as the venue returns them, each with its API key."""
        return await self._post("/accounts", kind=kind, count=count, usdc=usdc, api_keys=True)  # type: ignore[no-any-return]

    async def fetch_faults(self) -> Mapping[str, Any]:
        """The faults that are on, and how often each has struck."""
        return await self._get("/faults")

    async def change_faults(self, faults: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Switch faults on, with a new count, or off (None). All others stay as they are."""
        async with self._session.patch(f"{self._url}/faults", json=faults) as response:
            await _parse_response(response)

    async def change_tick(self, condition_id: str, tick: str) -> None:
        await self._post("/tick", condition_id=condition_id, tick=tick)

    async def resolve(self, condition_id: str, outcome: str) -> None:
        """``outcome`` is yes, no or split."""
        await self._post("/resolve", condition_id=condition_id, outcome=outcome)

    async def start_leaders(self, *, trades: int, per_second: str) -> None:
        await self._post("/leaders/start", trades=trades, per_second=per_second)

    async def stop_leaders(self) -> None:
        await self._post("/leaders/stop")

    async def leader_trade(
        self, *, leader: str, token: str, side: str, **amount: str
    ) -> Mapping[str, Any]:
        """Make one trade of a leader. ``amount``: ``usdc``, or of a sale ``shares``."""
        return await self._post(  # type: ignore[no-any-return]
            "/leader-trade", leader=leader, token=token, side=side, **amount
        )

    async def _get(self, path: str) -> Mapping[str, Any]:
        async with self._session.get(self._url + path) as response:
            return await _parse_response(response)  # type: ignore[no-any-return]

    async def _post(self, path: str, **body: Any) -> Any:
        async with self._session.post(self._url + path, json=body) as response:
            return await _parse_response(response)


async def _parse_response(response: aiohttp.ClientResponse) -> Any:
    if not response.ok:
        raise VenueRefused(
            f"the venue refuses {response.method} {response.url.path}: {await response.text()}"
        )
    return await response.json()
