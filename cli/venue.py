"""`slipstream venue up`: run the paper venue in this terminal, on a chain of its own unless the
environment names one.
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from tools.pipeline.parts import venue_part
from tools.stack.local import LocalStack
from tools.stack.npm import package_folder
from tools.stack.settings import StackSettings, environment_for_child

_KINDS = ("eoa", "proxy", "safe", "deposit")
_USDC_EACH = "1000"


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueOptions:
    """The command's options; ``accounts`` of each kind."""

    port: int
    seed: int
    accounts: int
    as_json: bool


def run_venue(rpc_url: str, *, as_json: bool, variables: Mapping[str, str] | None = None) -> None:
    """Replace this process by the venue, which then handles signals and sets the exit status.

    Raises: StackError where the npm packages of its contracts are missing.
    """
    npm_folder = package_folder("@gnosis.pm/conditional-tokens-contracts").parents[1]
    added = {
        "PAPER_VENUE_RPC_URL": rpc_url,
        "PAPER_VENUE_NPM_FOLDER": str(npm_folder),
        **(variables or {}),
    }
    environment = environment_for_child(added)
    command = [sys.executable, "-m", "services.paper_venue", *(["--json"] if as_json else [])]
    os.execve(sys.executable, command, environment)  # noqa: S606 - no shell, our own program


def up(options: VenueOptions) -> None:
    """Run a venue until Ctrl-C, then stop everything that was started. Raises: StackError."""
    asyncio.run(_up(options))


async def _up(options: VenueOptions) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="slipstream-venue-") as folder:
        settings = StackSettings.from_environment().model_copy(
            update={"folder": Path(folder), "mining": "automine", "durable": False}
        )
        async with LocalStack(settings, parts=["chain"]) as stack:
            starting = asyncio.create_task(_start(stack, Path(folder), options))
            stopped = asyncio.create_task(stop.wait())
            died = asyncio.create_task(stack.supervisor.first_death())
            await asyncio.wait({starting, stopped, died}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done() and not stopped.done():
                starting.result()
                await asyncio.wait({stopped, died}, return_when=asyncio.FIRST_COMPLETED)
            await _cancel(starting, stopped)
            if died.done():
                raise died.result()
            await _cancel(died)


async def _start(stack: LocalStack, folder: Path, options: VenueOptions) -> None:
    """Start the venue and print its addresses and accounts."""
    from tools.pipeline.venue import VenueControl

    ready_file = folder / "venue.json"
    npm_folder = package_folder("@gnosis.pm/conditional-tokens-contracts").parents[1]
    variables = {"PAPER_VENUE_PORT": str(options.port), "PAPER_VENUE_SEED": str(options.seed)}
    await stack.supervisor.start(
        venue_part(ready_file, rpc_url=stack.rpc_url, npm_folder=npm_folder, environment=variables)
    )
    facts: dict[str, Any] = orjson.loads(ready_file.read_bytes())
    async with VenueControl(facts["urls"]["control"]) as control:
        accounts_by_kind = [
            await control.create_accounts_with_api_keys(kind, options.accounts, usdc=_USDC_EACH)
            for kind in _KINDS
            if options.accounts
        ]
    facts["accounts"] = [account for accounts in accounts_by_kind for account in accounts]
    if options.as_json:
        print(orjson.dumps(facts).decode(), flush=True)
    else:
        _print_tables(facts)


def _print_tables(facts: dict[str, Any]) -> None:
    """Print addresses and accounts for people; the private keys are public by construction."""
    addresses = Table(
        "what",
        "address",
        title=f"A Polymarket on this machine, chain id {facts['chain_id']}, seed {facts['seed']}",
    )
    for name, url in facts["urls"].items():
        addresses.add_row(name, url)
    accounts = Table(
        "kind",
        "wallet",
        "private key of its signer",
        title=f"Accounts with {_USDC_EACH} USDC each (API keys: --json)",
    )
    for account in facts["accounts"]:
        accounts.add_row(account["kind"], account["proxy"], account["private_key"], style="dim")
    console = Console(soft_wrap=True)
    console.print(addresses)
    console.print(accounts)
    console.print("Press Ctrl-C to stop it.")


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
