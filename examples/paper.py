"""Where a running paper venue is, and a funded account on it: shared by the examples."""

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any


def read_venue() -> dict[str, Any]:
    """The venue's addresses (``urls``), from the command line's one argument: the venue's address,
    or a file with the ready line of ``slipstream venue up --json``.
    """
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} http://127.0.0.1:8137 | venue.json")
    argument = sys.argv[1]
    if argument.startswith("http"):
        return fetch(f"{argument.rstrip('/')}/control/world")
    return json.loads(Path(argument).read_text())


def new_account(venue: dict[str, Any], kind: str) -> dict[str, str]:
    """A new account with 1000 pUSD: ``proxy`` (its wallet), ``signer`` and ``private_key``.

    ``kind``: ``eoa``, ``proxy``, ``safe`` or ``deposit``.
    """
    accounts = fetch(f"{venue['urls']['control']}/accounts", {"kind": kind, "count": 1})
    return accounts[0]


def fetch(url: str, body: Any = None, *, method: str | None = None) -> Any:
    """The JSON that a GET of the address answers with, or a POST where there is a body."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request) as response:
        return json.load(response)
