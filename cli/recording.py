"""`slipstream venue record` and `slipstream venue play`: record what a venue serves, and serve it
again.
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

_REQUEST_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOptions:
    """The command's options. Addresses that are None are the paper venue's."""

    venue: str | None
    clob: str | None
    gamma: str | None
    market: str | None
    rtds: str | None
    tokens: Sequence[str]
    seconds: int | None


async def fetch_addresses(venue: str) -> Addresses:
    """The addresses that a paper venue publishes; ``venue`` is its CLOB's URL.

    Raises: RecordingError.
    """
    url = f"{venue.rstrip('/')}/control/world"
    try:
        timeout = aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as http,
            http.get(url) as answer,
        ):
            urls = (await answer.json())["urls"]
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
        reason = type(error).__name__
        raise RecordingError(
            f"no paper venue answers at {url} ({reason}): give its address by --venue, or all four "
            "addresses"
        ) from error
    return Addresses(
        clob=urls["clob"], gamma=urls["gamma"], market_ws=urls["market_ws"], rtds=urls["rtds"]
    )


async def _resolve_addresses(options: RecordOptions) -> Addresses:
    """The addresses that are given, completed by the paper venue's. Raises: RecordingError."""
    options_by_name = {
        "clob": options.clob,
        "gamma": options.gamma,
        "market_ws": options.market,
        "rtds": options.rtds,
    }
    given = {name: url for name, url in options_by_name.items() if url}
    if len(given) == len(options_by_name):
        return Addresses(**given)
    if options.venue is None:
        raise RecordingError(
            "give the address of a paper venue by --venue or CLOB_URL, or all of --clob, --gamma, "
            "--market and --rtds"
        )
    return replace(await fetch_addresses(options.venue), **given)


def record(path: Path, options: RecordOptions) -> str:
    """Record until the time is over or until Ctrl-C. Returns a line that says what was recorded.

    Raises: RecordingError.
    """
    counts = asyncio.run(_record(path, options))
    recorded = ", ".join(f"{count} {source}" for source, count in counts.items() if count)
    return f"{path}: {recorded or 'nothing'}"


async def _record(path: Path, options: RecordOptions) -> dict[Source, int]:
    addresses = await _resolve_addresses(options)
    try:
        file = path.open("xb")
    except FileExistsError:
        raise RecordingError(f"{path} exists already: name another file") from None
    except OSError as error:
        raise RecordingError(f"{path} cannot be written: {error.strerror}") from error
    with file:
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, connect=_REQUEST_TIMEOUT_S)
        ) as http:
            recorder = Recorder(file, http, now_ms=lambda: time.time_ns() // 1_000_000)
            running = asyncio.ensure_future(recorder.run(addresses, options.tokens))
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, running.cancel)
            with suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(running, options.seconds)
    return recorder.counts


def play(path: Path, rpc_url: str, *, speed: str, as_json: bool) -> None:
    """Replace this process by a venue whose markets, books and trades are those of the recording.

    Raises: RecordingError, StackError.
    """
    if not path.is_file():
        raise RecordingError(f"there is no recording {path}")
    variables = {
        "PAPER_VENUE_RECORDING": str(path.resolve()),
        "PAPER_VENUE_SPEED": "0" if speed == "max" else speed,
    }
    run_venue(rpc_url, as_json=as_json, variables=variables)
