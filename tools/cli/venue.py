"""`slipstream venue up`: the paper venue in this terminal."""

import os
import sys

from tools.stack.npm import package_folder
from tools.stack.settings import environment_for_child


def run_venue(rpc_url: str, *, as_json: bool) -> None:
    """Become the venue: signals and its exit status are its own. Raises: StackError where its contracts' packages are missing."""
    npm_folder = package_folder("@gnosis.pm/conditional-tokens-contracts").parents[1]
    environment = environment_for_child({"PAPER_VENUE_RPC_URL": rpc_url, "PAPER_VENUE_NPM_FOLDER": str(npm_folder)})
    command = [sys.executable, "-m", "services.paper_venue", *(["--json"] if as_json else [])]
    os.execve(sys.executable, command, environment)  # noqa: S606 - no shell, our own program
