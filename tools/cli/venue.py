"""`slipstream venue up`: the paper venue in this terminal."""

import os
import sys
from collections.abc import Mapping

from tools.stack.npm import package_folder
from tools.stack.settings import environment_for_child


def run_venue(rpc_url: str, *, as_json: bool, variables: Mapping[str, str] | None = None) -> None:
    """Become the venue: signals and its exit status are its own. Raises: StackError where its contracts' packages are missing."""
    npm_folder = package_folder("@gnosis.pm/conditional-tokens-contracts").parents[1]
    added = {"PAPER_VENUE_RPC_URL": rpc_url, "PAPER_VENUE_NPM_FOLDER": str(npm_folder), **(variables or {})}
    environment = environment_for_child(added)
    command = [sys.executable, "-m", "services.paper_venue", *(["--json"] if as_json else [])]
    os.execve(sys.executable, command, environment)  # noqa: S606 - no shell, our own program
