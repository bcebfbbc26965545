"""The examples run as they are against a running venue, by its address and by its ready line."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.integration.paper_venue.venue import PaperVenue

pytestmark = pytest.mark.integration

EXAMPLES = Path(__file__).parents[3] / "examples"
BOTS = sorted(file.name for file in EXAMPLES.glob("*.py") if file.name != "paper.py")
LAST_WORDS = {
    "first_order.py": "settled by 0x",
    "lost_reply.py": "the venue has 1 trade of ",
    "py_clob_client_v2_order.py": "settled by 0x",
}


async def run(bot: str, argument: str) -> str:
    """What the example printed; it ends with status 0."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / bot),
        argument,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, errors = await process.communicate()

    assert process.returncode == 0, errors.decode()
    return printed.decode()


@pytest.mark.parametrize("bot", BOTS)
async def test_an_example_trades_on_the_venue_of_the_given_address(
    venue: PaperVenue, bot: str
) -> None:
    printed = await run(bot, venue.urls["clob"])

    assert LAST_WORDS[bot] in printed.splitlines()[-1]


async def test_an_example_reads_the_ready_line_from_a_file(
    venue: PaperVenue, tmp_path: Path
) -> None:
    ready = tmp_path / "venue.json"
    ready.write_text(json.dumps({"urls": venue.urls}))

    assert "settled by 0x" in await run("first_order.py", str(ready))
