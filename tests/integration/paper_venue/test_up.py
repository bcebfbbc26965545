"""`slipstream venue up --json` prints all that a script needs, and leaves nothing running."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.integration.paper_venue.venue import terminate_at_end

pytestmark = pytest.mark.integration


def test_a_venue_starts_with_funded_accounts_of_every_kind_and_stops_completely() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "POLYGON_RPC_URL"}
    command = [
        sys.executable,
        "-c",
        "from cli.main import main; main()",
        "venue",
        "up",
        "--json",
        "--port",
        "0",
        "--accounts",
        "1",
    ]
    with (
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process,
        terminate_at_end(process),
    ):
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        with urllib.request.urlopen(f"{facts['urls']['clob']}/time") as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0

    assert [account["kind"] for account in facts["accounts"]] == ["eoa", "proxy", "safe", "deposit"]
    assert all(
        set(account["api_key"]) == {"apiKey", "secret", "passphrase"}
        for account in facts["accounts"]
    )
    assert facts["chain_id"] == 137
    for url in (facts["urls"]["clob"], facts["urls"]["rpc"]):
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(url)
