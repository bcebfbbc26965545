"""A paper venue as a process of its own, on the session's chain."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from polymarket import AsyncSecureClient
from polymarket._internal.environment import PRODUCTION_CONFIG, create_environment
from polymarket.environments import Environment

from tools.stack.background import BackgroundLoop
from tools.stack.local import LocalStack
from tools.stack.npm import package_folder
from tools.stack.settings import StackSettings


@dataclass(frozen=True)
class PaperVenue:
    """A running venue, and how a client is pointed at it."""

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

    @asynccontextmanager
    async def client(self, kind: str, *, usdc: str = "1000") -> AsyncIterator[tuple[AsyncSecureClient, dict[str, str]]]:
        """An official client of a new, funded account; and the account."""
        (account,) = await self.control("accounts", {"kind": kind, "count": 1, "usdc": usdc})
        client = await AsyncSecureClient.create(private_key=account["private_key"], wallet=account["proxy"], environment=self.environment())
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


@pytest.fixture(scope="session")
def rpc_url(background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A chain that this venue alone writes to."""
    settings = StackSettings(folder=tmp_path_factory.mktemp("venue-chain"), mining="automine", durable=False)
    with background.entered(LocalStack(settings, parts=["chain"])) as stack:
        yield stack.rpc_url


def npm_folder() -> str:
    """Where the started chain has installed the contracts' packages."""
    return str(package_folder("@gnosis.pm/safe-contracts").parents[1])


@pytest.fixture(scope="session")
def venue(rpc_url: str) -> Iterator[PaperVenue]:
    """A venue that is quick to settle."""
    environment = os.environ | {
        "PAPER_VENUE_RPC_URL": rpc_url,
        "PAPER_VENUE_NPM_FOLDER": npm_folder(),
        "PAPER_VENUE_BROADCAST_DELAY": "0.05",
        "PAPER_VENUE_CONFIRM_DELAY": "0.1",
        "PAPER_VENUE_DATA_LAG": "0.5",
        "PAPER_VENUE_MARKETS": "18",  # three editions: the first one's stay open, the others are for tests that resolve
    }
    command = [sys.executable, "-m", "services.paper_venue", "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, f"the venue ended with status {process.wait()}"
            yield PaperVenue(world=_world(json.loads(line)["urls"]["control"]))
        finally:
            process.terminate()
            process.wait(timeout=10)


def _world(control: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{control}/world", timeout=10) as answer:
        world: dict[str, Any] = json.load(answer)
        return world
