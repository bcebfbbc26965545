"""`dead-letters`: what could not be handled, what waits behind it, and what an operator decides."""

import getpass
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.errors import WrongInput
from shared.db.dead_letters import DeadLetterHistory, decide, load_dead_letter, load_dead_letters
from shared.streams.dead_letter_store import OPEN_STATES, DeadLetterState

MOST_LISTED = 200


async def listed(engine: AsyncEngine, *, settled: bool) -> list[DeadLetterHistory]:
    return await load_dead_letters(
        engine, states=list(DeadLetterState) if settled else OPEN_STATES, limit=MOST_LISTED
    )


async def shown(engine: AsyncEngine, number: int) -> DeadLetterHistory:
    """Raises: WrongInput."""
    found = await load_dead_letter(engine, number)
    if found is None:
        raise WrongInput(
            f"there is no dead letter {number}: `slipstream dead-letters list` shows those that are open"
        )
    return found


async def redrive(engine: AsyncEngine, numbers: Sequence[int], *, why: str) -> list[str]:
    """What was done with each. Raises: WrongInput."""
    return [await _decided(engine, number, DeadLetterState.REDRIVING, why) for number in numbers]


async def discard(engine: AsyncEngine, numbers: Sequence[int], *, why: str) -> list[str]:
    """What was done with each. Raises: WrongInput."""
    return [await _decided(engine, number, DeadLetterState.DISCARDED, why) for number in numbers]


async def _decided(engine: AsyncEngine, number: int, state: DeadLetterState, why: str) -> str:
    found = await shown(engine, number)
    if not await decide(engine, number, state, by=getpass.getuser(), why=why):
        raise WrongInput(f"dead letter {number} is {found.state} already")
    if state is DeadLetterState.DISCARDED:
        return f"{number} is discarded; what waited behind it goes on"
    return f"{number} will be handled again by {found.service}: `slipstream dead-letters show {number}` tells what came of it"


def draw_list(found: Sequence[DeadLetterHistory]) -> Table:
    table = Table(
        "no.",
        "state",
        "service",
        "topic",
        "type",
        "key",
        "since",
        "reason",
        box=None,
        header_style="bold",
    )
    for each in found:
        letter = each.dead_letter
        since = f"{each.parked_at:%Y-%m-%d %H:%M:%S}"
        row = (
            str(letter.number),
            each.state,
            each.service,
            letter.topic,
            _type(each),
            _readable(letter.key),
            since,
            each.reason,
        )
        table.add_row(*(Text(cell) for cell in row))
    return table


def draw(found: DeadLetterHistory, console: Console) -> None:
    """All of it: where it came from, why it is here, what was decided, and the message."""
    letter = found.dead_letter
    console.print(Text(f"dead letter {letter.number}, {found.state}: {found.reason}", style="bold"))
    console.print(
        Text(
            f"  {_type(found)} of {letter.topic}/{letter.partition}@{found.source_offset}, key {_readable(letter.key)}"
        )
    )
    console.print(Text(f"  parked by {found.service} at {found.parked_at:%Y-%m-%d %H:%M:%S %Z}"))
    for made in found.decisions:
        console.print(
            Text(
                f"  {made.decision} by {made.made_by} at {made.made_at:%Y-%m-%d %H:%M:%S %Z}: {made.why or '(no reason given)'}"
            )
        )
    for name, value in letter.headers:
        console.print(Text(f"  {name}: {_readable(value)}"))
    console.print(Text(_readable(letter.value)), soft_wrap=True)


def _type(found: DeadLetterHistory) -> str:
    return _readable(dict(found.dead_letter.headers).get("type", b"?"))


def _readable(raw: bytes) -> str:
    """Without control characters: what could not be handled may hold anything, and this goes to a
    terminal.
    """
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
