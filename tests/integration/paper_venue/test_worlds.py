"""A rough world on the chain, recorded; and the recording played on another chain with the same trades at the same prices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.paper_venue.playback import play_of
from services.paper_venue.recording import read_recording
from shared.testing.waiting import eventually
from tests.integration.paper_venue.conftest import PaperVenue, npm_folder
from tools.stack.background import BackgroundLoop
from tools.stack.local import LocalStack
from tools.stack.settings import StackSettings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

TRADES = 40


def read_world(control: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{control}/world", timeout=10) as answer:
        world: dict[str, Any] = json.load(answer)
        return world


@contextmanager
def a_venue(rpc_url: str, **variables: str) -> Iterator[PaperVenue]:
    environment = os.environ | {
        "PAPER_VENUE_RPC_URL": rpc_url,
        "PAPER_VENUE_NPM_FOLDER": npm_folder(),
        "PAPER_VENUE_BROADCAST_DELAY": "0.05",
        "PAPER_VENUE_CONFIRM_DELAY": "0.1",
        **variables,
    }
    command = [sys.executable, "-m", "services.paper_venue", "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, f"the venue ended with status {process.wait()}"
            yield PaperVenue(world=read_world(json.loads(line)["urls"]["control"]))
        finally:
            process.terminate()
            process.wait(timeout=10)


@contextmanager
def recording_of(venue: PaperVenue, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Recorded by the command, until the block ends."""
    command = [sys.executable, "-c", "from tools.cli.main import main; main()"]
    arguments = ["venue", "record", str(path), "--venue", venue.urls["clob"]]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield process
        process.send_signal(2)
        assert process.wait(timeout=20) == 0, process.stdout.read() if process.stdout else ""


@pytest.fixture(scope="module")
def rpc_urls(background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Two chains, each for one venue alone."""

    def chain(name: str) -> LocalStack:
        settings = StackSettings(folder=tmp_path_factory.mktemp(name), mining="automine", durable=False)
        return LocalStack(settings, parts=["chain"])

    with background.entered(chain("rough-chain")) as first, background.entered(chain("played-chain")) as second:
        yield first.rpc_url, second.rpc_url


async def ended(venue: PaperVenue) -> bool:
    stats = await venue.control("stats")
    return not stats["trading"] and bool(stats["settled"] + stats["failed"] == stats["matched"])


async def test_a_rough_world_settles_is_recorded_and_played_again(rpc_urls: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "rough.jsonl"
    with a_venue(rpc_urls[0], PAPER_VENUE_MOOD="rough", PAPER_VENUE_CROWD_PER_SECOND="5") as venue, recording_of(venue, path):
        tokens = sum(len(market["token_ids"]) for market in venue.world["markets"])
        await eventually(lambda: path.exists() and path.read_bytes().count(b'"source":"book"') == tokens, within=30)
        await venue.control("leaders/start", {"trades": TRADES, "per_second": "20"})
        await eventually(lambda: ended(venue), within=60)
        stats = await venue.control("stats")
        await eventually(lambda: path.read_bytes().count(b'"source":"rtds"') >= 2 * TRADES, within=30)

    assert stats["leader_trades"] >= TRADES
    assert stats["failed"] == 0
    play = play_of(read_recording(path))
    assert len(play.markets) == len(venue.world["markets"])
    assert b"secret" not in path.read_bytes()
    assert b"0x" + b"00" * 20 not in path.read_bytes()

    with a_venue(rpc_urls[1], PAPER_VENUE_RECORDING=str(path), PAPER_VENUE_SPEED="0") as played:

        async def is_done() -> Any:
            report = (await played.control("world"))["recording"]
            return report if report["done"] and await ended(played) else None

        report = await eventually(is_done, within=90)
        stats = await played.control("stats")

    trades = report["trades"]
    assert trades["recorded"] == len(play.trades) == trades["exact"] + trades["approximate"] + trades["not_reenacted"]
    assert trades["exact"] * 10 >= trades["recorded"] * 9, report["why_not"]
    assert stats["failed"] == 0
    assert stats["matched"] == trades["exact"] + trades["approximate"]
    assert Counter(len(market.tokens) for market in play.markets) == {2: len(play.markets)}
    assert set(report["tokens"]) == {token for market in play.markets for token in market.tokens.values()}


async def test_a_leader_merges_out_on_the_chain(rpc_urls: tuple[str, str]) -> None:
    with a_venue(rpc_urls[0], PAPER_VENUE_SEED="3", PAPER_VENUE_LEADERS="4") as venue:
        await venue.control("leaders/start", {"trades": 60, "per_second": "15"})
        await eventually(lambda: ended(venue), within=60)
        stats = await venue.control("stats")

    assert stats["leader_merges"] > 0
    assert stats["failed"] == 0
