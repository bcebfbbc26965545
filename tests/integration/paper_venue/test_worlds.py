"""Rough markets on a chain are recorded, and the recording is played on another chain with the same
trades at the same prices.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.paper_venue.recordings.recording import read_recording
from services.paper_venue.recordings.timeline import build_timeline
from shared.testing.waiting import eventually
from tests.integration.paper_venue.venue import PaperVenue, start_venue, terminate_at_end
from tools.stack.background import BackgroundLoop
from tools.stack.local import LocalStack
from tools.stack.settings import StackSettings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

TRADES = 40
TIMEOUT_S = 200
"""For a busy machine; an idle one takes ten seconds."""


@contextmanager
def recording(venue: PaperVenue, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Record the venue by the command line until the block ends."""
    command = [sys.executable, "-c", "from cli.main import main; main()"]
    arguments = ["venue", "record", str(path), "--venue", venue.urls["clob"]]
    with (
        subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
        terminate_at_end(process),
    ):
        yield process
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()
        assert process.returncode == 0, output


@pytest.fixture(scope="module")
def rpc_urls(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """Two chains, one for each venue."""

    def chain(name: str) -> LocalStack:
        settings = StackSettings(
            folder=tmp_path_factory.mktemp(name), mining="automine", durable=False
        )
        return LocalStack(settings, parts=["chain"])

    with (
        background.entered(chain("rough-chain")) as first,
        background.entered(chain("played-chain")) as second,
    ):
        yield first.rpc_url, second.rpc_url


async def stats_once_leaders_stopped(venue: PaperVenue) -> Any:
    """The venue's counts once its leaders have stopped trading; None before."""
    stats = await venue.control("stats")
    return None if stats["trading"] else stats


async def is_settled(venue: PaperVenue, matched: int) -> bool:
    """Whether as many trades have ended as had matched by then; others may still run."""
    stats = await venue.control("stats")
    return bool(stats["settled"] + stats["failed"] >= matched)


async def wait_until_settled(venue: PaperVenue) -> Any:
    """Wait until the leaders stopped and their matches are settled; returns the venue's counts."""
    matched = (await eventually(lambda: stats_once_leaders_stopped(venue), within=TIMEOUT_S))[
        "matched"
    ]
    await eventually(lambda: is_settled(venue, matched), within=TIMEOUT_S)
    return await venue.control("stats")


async def test_rough_markets_settle_are_recorded_and_played_again(
    rpc_urls: tuple[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "rough.jsonl"
    with (
        start_venue(rpc_urls[0], MARKET_CHARACTER="rough", CROWD_TRADES_PER_SECOND="5") as venue,
        recording(venue, path),
    ):
        tokens = sum(len(market["token_ids"]) for market in venue.world["markets"])
        await eventually(
            lambda: path.exists() and path.read_bytes().count(b'"source":"book"') >= tokens,
            within=TIMEOUT_S,
        )
        await venue.control("leaders/start", {"trades": TRADES, "per_second": "20"})
        stats = await wait_until_settled(venue)
        await eventually(
            lambda: path.read_bytes().count(b'"source":"rtds"') >= 2 * TRADES, within=TIMEOUT_S
        )

    assert stats["leader_trades"] >= TRADES
    assert stats["failed"] == 0
    timeline = build_timeline(read_recording(path))
    assert len(timeline.markets) == len(venue.world["markets"])
    assert b"secret" not in path.read_bytes()
    assert b"0x" + b"00" * 20 not in path.read_bytes()

    with start_venue(rpc_urls[1], RECORDING=str(path), SPEED="0") as played:

        async def is_done() -> Any:
            report = (await played.control("world"))["recording"]
            return report if report["done"] else None

        report = await eventually(is_done, within=TIMEOUT_S)
        stats = await wait_until_settled(played)

    trades = report["trades"]
    assert (
        trades["recorded"]
        == len(timeline.trades)
        == trades["exact"] + trades["approximate"] + trades["not_reenacted"]
    )
    assert trades["exact"] * 10 >= trades["recorded"] * 9, report["why_not"]
    assert stats["failed"] == 0
    assert stats["matched"] == trades["exact"] + trades["approximate"]
    assert Counter(len(market.tokens) for market in timeline.markets) == {2: len(timeline.markets)}
    assert set(report["tokens"]) == {
        token for market in timeline.markets for token in market.tokens.values()
    }


async def test_a_leader_merges_pairs_on_the_chain(rpc_urls: tuple[str, str]) -> None:
    with start_venue(rpc_urls[0], SEED="3", LEADERS="4") as venue:
        await venue.control("leaders/start", {"trades": 60, "per_second": "15"})
        stats = await wait_until_settled(venue)

    assert stats["leader_merges"] > 0
    assert stats["failed"] == 0
