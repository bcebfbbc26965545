"""`slipstream venue record` and `slipstream venue play`: write down what a venue serves, and serve
it again.
"""

import asyncio
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from cli.venue import run_venue
from services.paper_venue.recordings.recorder import Addresses, Recorder
from services.paper_venue.recordings.recording import RecordingError, Source

_ASK_WITHIN_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says. Addresses that are None are the paper venue's."""

    venue: str | None
    clob: str | None
    gamma: str | None
    market: str | None
    rtds: str | None
    tokens: Sequence[str]
    seconds: int | None


async def addresses_of(venue: str) -> Addresses:
    """Where a paper venue says that it answers; ``venue`` is its CLOB's URL. Raises:
    RecordingError.
    """
    url = f"{venue.rstrip('/')}/control/world"
    try:
        timeout = aiohttp.ClientTimeout(total=_ASK_WITHIN_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as http,
            http.get(url) as answer,
        ):
            urls = (await answer.json())["urls"]
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
        reason = type(error).__name__
        raise RecordingError(
            f"no paper venue answers at {url} ({reason}): name one by --venue, or all four addresses"
        ) from error
    return Addresses(
        clob=urls["clob"], gamma=urls["gamma"], market_ws=urls["market_ws"], rtds=urls["rtds"]
    )


async def _find_addresses(asked: Asked) -> Addresses:
    """What is named counts; the rest is asked of the paper venue. Raises: RecordingError."""
    named = {
        "clob": asked.clob,
        "gamma": asked.gamma,
        "market_ws": asked.market,
        "rtds": asked.rtds,
    }
    given = {name: url for name, url in named.items() if url}
    if len(given) == len(named):
        return Addresses(**given)
    if asked.venue is None:
        raise RecordingError(
            "name a paper venue by --venue or CLOB_URL, or all of --clob, --gamma, --market and --rtds"
        )
    return replace(await addresses_of(asked.venue), **given)


def run_record(path: Path, asked: Asked) -> str:
    """Until the time is over or Ctrl-C; returns what to say of it. Raises: RecordingError."""
    counts = asyncio.run(_record(path, asked))
    told = ", ".join(f"{count} {source}" for source, count in counts.items() if count)
    return f"{path}: {told or 'nothing'}"


async def _record(path: Path, asked: Asked) -> dict[Source, int]:
    addresses = await _find_addresses(asked)
    try:
        file = path.open("xb")
    except FileExistsError:
        raise RecordingError(f"{path} is there already: name another file") from None
    except OSError as error:
        raise RecordingError(f"{path} cannot be written: {error.strerror}") from error
    with file:
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, connect=_ASK_WITHIN_S)
        ) as http:
            recorder = Recorder(file, http, now_ms=lambda: time.time_ns() // 1_000_000)
            running = asyncio.ensure_future(recorder.run(addresses, asked.tokens))
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, running.cancel)
            with suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(running, asked.seconds)
    return recorder.counts


def play(path: Path, rpc_url: str, *, speed: str, as_json: bool) -> None:
    """Become a venue whose markets, books and trades are those of the recording. Raises:
    RecordingError, StackError.
    """
    if not path.is_file():
        raise RecordingError(f"there is no recording {path}")
    variables = {
        "PAPER_VENUE_RECORDING": str(path.resolve()),
        "PAPER_VENUE_SPEED": "0" if speed == "max" else speed,
    }
    run_venue(rpc_url, as_json=as_json, variables=variables)
