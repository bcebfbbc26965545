"""Starts a paper venue as a process, and connects clients to it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from polymarket import AsyncSecureClient
from polymarket._internal.environment import PRODUCTION_CONFIG, create_environment
from polymarket.environments import Environment

from tools.stack.npm import package_folder

MARKETS_PER_EDITION = 6
"""The generator makes markets in editions of so many."""
TERMINATION_TIMEOUT_S = 60


@dataclass(frozen=True)
class PaperVenue:
    """A running venue."""

    world: dict[str, Any]

    @property
    def urls(self) -> dict[str, str]:
        urls: dict[str, str] = self.world["urls"]
        return urls

    def environment(self) -> Environment:
        urls = self.urls
        config = dataclasses.replace(
            PRODUCTION_CONFIG,
            clob_url=urls["clob"],
            clob_market_ws_url=urls["market_ws"],
            clob_user_ws_url=urls["user_ws"],
            gamma_url=urls["gamma"],
            data_url=urls["data"],
            relayer_url=urls["relayer"],
            rtds_ws_url=urls["rtds"],
            rpc_url=urls["rpc"],
        )
        return create_environment(name="paper", config=config)

    def token(self, market: int = 0, outcome: int = 0) -> str:
        return str(self.world["markets"][market]["token_ids"][outcome])

    async def find_market_to_resolve(
        self, version: str = "v1", *, neg_risk: bool = False, takes_fee: bool = True
    ) -> dict[str, Any]:
        """An open market of this kind, for a test that resolves it; never one of the first edition,
        in which all other tests trade.
        """
        async with (
            aiohttp.ClientSession(raise_for_status=True) as http,
            http.get(self.urls["clob"] + "/sampling-markets") as response,
        ):
            open_markets = {row["condition_id"] for row in (await response.json())["data"]}
        market: dict[str, Any] = next(
            market
            for market in self.world["markets"][MARKETS_PER_EDITION:]
            if (market["version"], market["neg_risk"], market["fee_rate"] != "0")
            == (version, neg_risk, takes_fee)
            and market["condition_id"] in open_markets
        )
        return market

    @asynccontextmanager
    async def client(
        self, kind: str, *, usdc: str = "1000"
    ) -> AsyncIterator[tuple[AsyncSecureClient, dict[str, str]]]:
        """An official client of a new, funded account, and the account."""
        (account,) = await self.control("accounts", {"kind": kind, "count": 1, "usdc": usdc})
        client = await AsyncSecureClient.create(
            private_key=account["private_key"],
            wallet=account["proxy"],
            environment=self.environment(),
        )
        try:
            yield client, account
        finally:
            await client.close()

    async def control(self, path: str, body: dict[str, Any] | None = None) -> Any:
        url = f"{self.urls['control']}/{path}"
        async with aiohttp.ClientSession(raise_for_status=True) as http:
            request = http.get(url) if body is None else http.post(url, json=body)
            async with request as response:
                return await response.json()


@contextmanager
def start_venue(rpc_url: str, **variables: str) -> Iterator[PaperVenue]:
    """Run a venue that settles quickly until the block ends; no other process may write to its
    chain. ``variables`` are its settings without the prefix ``PAPER_VENUE_``.
    """
    settings = {
        "RPC_URL": rpc_url,
        "NPM_FOLDER": npm_folder(),
        "BROADCAST_DELAY": "0.05",
        "CONFIRM_DELAY": "0.1",
    } | variables
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("PAPER_VENUE_")
    }
    environment = inherited | {f"PAPER_VENUE_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "services.paper_venue", "--json"]
    with (
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process,
        terminate_at_end(process),
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the venue ended with status {process.wait()}"
        with urllib.request.urlopen(f"{json.loads(line)['urls']['control']}/world") as answer:
            yield PaperVenue(world=json.load(answer))


@contextmanager
def terminate_at_end(process: subprocess.Popen[str]) -> Iterator[None]:
    """Terminate the process when the block ends; kill it, and raise, if it does not exit."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=TERMINATION_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def npm_folder() -> str:
    """The folder in which the started chain has installed the contracts' packages."""
    return str(package_folder("@gnosis.pm/safe-contracts").parents[1])
