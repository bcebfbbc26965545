"""An error that stops the venue from starting is reported in one line that names the remedy."""

import os
import subprocess
import sys

import pytest

from tests.integration.paper_venue.venue import PaperVenue, npm_folder

pytestmark = pytest.mark.integration


def start(**variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PAPER_VENUE_")
    }
    return subprocess.run(
        [sys.executable, "-m", "services.paper_venue"],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_missing_and_an_invalid_variable_are_named() -> None:
    ended = start(PAPER_VENUE_MARKETS="0", PAPER_VENUE_NPM_FOLDER="x")

    assert ended.returncode == 1
    assert "PAPER_VENUE_RPC_URL: Field required" in ended.stderr
    assert "PAPER_VENUE_MARKETS: Input should be greater than or equal to 1" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_in_use_is_named(venue: PaperVenue, rpc_url: str) -> None:
    port = venue.urls["clob"].rsplit(":", 1)[1]

    ended = start(
        PAPER_VENUE_RPC_URL=rpc_url, PAPER_VENUE_NPM_FOLDER=npm_folder(), PAPER_VENUE_PORT=port
    )

    assert ended.returncode == 1
    assert "choose another by PAPER_VENUE_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_unreachable_chain_is_named(rpc_url: str) -> None:
    ended = start(PAPER_VENUE_RPC_URL="http://127.0.0.1:9", PAPER_VENUE_NPM_FOLDER=npm_folder())

    assert ended.returncode == 1
    assert "no answer from the chain node" in ended.stderr
    assert "Traceback" not in ended.stderr
