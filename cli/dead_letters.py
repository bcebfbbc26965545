"""`slipstream dead-letters`: read the dead-letter store and record an operator's decisions."""

import getpass
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.errors import CommandError
from cli.formatting import escape_control_characters
from shared.db.dead_letters import DeadLetterHistory, decide, load_dead_letter, load_dead_letters
from shared.streams.dead_letter_store import OPEN_DEAD_LETTER_STATES, DeadLetterState

MAX_LISTED = 200
COLUMNS = ("no.", "state", "service", "topic", "type", "key", "since", "reason")


async def load(engine: AsyncEngine, *, settled: bool) -> list[DeadLetterHistory]:
    """The oldest ``MAX_LISTED`` dead letters; ``settled``: also those that are not open."""
    states = list(DeadLetterState) if settled else OPEN_DEAD_LETTER_STATES
    return await load_dead_letters(engine, states=states, limit=MAX_LISTED)


async def require_one(engine: AsyncEngine, number: int) -> DeadLetterHistory:
    """Raises: CommandError where there is none of this number."""
    history = await load_dead_letter(engine, number)
    if history is None:
        raise CommandError(
            f"there is no dead letter {number}: `slipstream dead-letters list` shows the open ones"
        )
    return history


async def redrive(engine: AsyncEngine, numbers: Sequence[int], *, why: str) -> list[str]:
    """A line for each, saying what was done. Raises: CommandError."""
    return [await _decide(engine, number, DeadLetterState.REDRIVING, why) for number in numbers]


async def discard(engine: AsyncEngine, numbers: Sequence[int], *, why: str) -> list[str]:
    """A line for each, saying what was done. Raises: CommandError."""
    return [await _decide(engine, number, DeadLetterState.DISCARDED, why) for number in numbers]


async def _decide(engine: AsyncEngine, number: int, state: DeadLetterState, why: str) -> str:
    history = await require_one(engine, number)
    if not await decide(engine, number, state, by=getpass.getuser(), why=why):
        raise CommandError(f"dead letter {number} is {history.state} already")
    if state is DeadLetterState.DISCARDED:
        return f"dead letter {number} is discarded; what waited behind it is handled now"
    return (
        f"dead letter {number} will be handled again by {history.service}: "
        f"`slipstream dead-letters show {number}` shows the result"
    )


def build_table(histories: Sequence[DeadLetterHistory]) -> Table:
    table = Table(*COLUMNS, box=None, header_style="bold")
    for history in histories:
        stored = history.dead_letter
        row = (
            str(stored.number),
            history.state,
            history.service,
            stored.topic,
            _message_type(history),
            _printable(stored.key),
            f"{history.parked_at:%Y-%m-%d %H:%M:%S}",
            history.reason,
        )
        table.add_row(*(Text(cell) for cell in row))
    return table


def print_whole(history: DeadLetterHistory, console: Console) -> None:
    """Print where it came from, why it is parked, what was decided, and the message."""
    stored = history.dead_letter
    title = f"dead letter {stored.number}, {history.state}: {history.reason}"
    place = f"{stored.topic}/{stored.partition}@{history.source_offset}"
    console.print(Text(title, style="bold"))
    console.print(Text(f"  {_message_type(history)} of {place}, key {_printable(stored.key)}"))
    console.print(
        Text(f"  parked by {history.service} at {history.parked_at:%Y-%m-%d %H:%M:%S %Z}")
    )
    for made in history.decisions:
        decision = f"{made.decision} by {made.made_by} at {made.made_at:%Y-%m-%d %H:%M:%S %Z}"
        console.print(Text(f"  {decision}: {made.why or '(no reason given)'}"))
    for name, value in stored.headers:
        console.print(Text(f"  {name}: {_printable(value)}"))
    console.print(Text(_printable(stored.value)), soft_wrap=True)


def _message_type(history: DeadLetterHistory) -> str:
    return _printable(dict(history.dead_letter.headers).get("type", b"?"))


def _printable(raw: bytes) -> str:
    """A dead letter may hold any bytes, and this is printed on a terminal."""
    return escape_control_characters(raw.decode("utf-8", "backslashreplace"))
