"""`slipstream transfers`: what operator wallets send, and the decisions that a person makes."""

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.errors import CommandError
from cli.formatting import build_facts, build_table, format_amount, format_number, format_time
from services.tx_monitor.decisions.transfers import CLOSED_STATES
from shared.db.engine import fetch_rows, transaction
from shared.db.sql import literals
from shared.domain.money import as_decimal
from shared.messages.transfers import TransferState

MAX_LISTED = 200

UNCLOSED = literals(sorted(set(TransferState) - CLOSED_STATES))
LISTED = literals(sorted({*TransferState} - CLOSED_STATES | {TransferState.LOST}))

OPERATORS = f"""
select o.operator, o.next_nonce, o.halted_because, o.halted_at,
       count(t.request_id) filter (where t.state = 'queued') as queued,
       count(t.request_id) filter (where t.state <> 'queued') as under_way
from tx_monitor.operators o
left join tx_monitor.transfers t on t.operator = o.operator and t.state in {UNCLOSED}
group by o.operator
order by o.operator
"""  # noqa: S608 - constants
OPEN = f"""
select * from tx_monitor.transfers
where state in {LISTED}
order by requested_at, request_id
limit :limit
"""  # noqa: S608 - constants
NEWEST = """
select * from tx_monitor.transfers order by requested_at desc, request_id limit :limit
"""
ONE = "select * from tx_monitor.transfers where request_id = :request_id"
ATTEMPTS = "select * from tx_monitor.attempts where request_id = :request_id order by number"
DECISIONS = """
select * from tx_monitor.transfer_decisions where subject = :subject order by made_at
"""
RESOLVE = """
with resolved as (
    update tx_monitor.transfers
    set state = :state, mined_hash = :tx_hash, reason = :reason, is_reported = false,
        revision = revision + 1, changed_at = clock_timestamp()
    where request_id = :request_id and state = 'lost'
    returning request_id
)
insert into tx_monitor.transfer_decisions (subject, made_at, made_by, decision, why)
select request_id, clock_timestamp(), :by, :decision, :why from resolved
returning subject
"""
RESUME = """
with resumed as (
    update tx_monitor.operators set halted_because = '', halted_at = null
    where operator = :operator and halted_because <> ''
      and not exists (
          select from tx_monitor.transfers
          where operator = :operator and state = 'lost'
      )
    returning operator
)
insert into tx_monitor.transfer_decisions (subject, made_at, made_by, decision, why)
select operator, clock_timestamp(), :by, 'resumed', :why from resumed
returning subject
"""
LOCK_OPERATOR = """
select operator from tx_monitor.operators where operator = :operator for update
"""
LOST_OF_OPERATOR = """
select request_id from tx_monitor.transfers
where operator = :operator and state = 'lost'
order by requested_at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    operators: Sequence[Any]
    transfers: Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A transfer with all that was done for it."""

    transfer: Any
    attempts: Sequence[Any]
    decisions: Sequence[Any]


async def load_overview(engine: AsyncEngine, *, closed: bool) -> Overview:
    """The operator wallets, and the oldest transfers that are open or lost; ``closed``: the newest
    of all instead. Raises: Transient.
    """
    statement = NEWEST if closed else OPEN
    async with transaction(engine) as connection:
        return Overview(
            operators=await fetch_rows(connection, OPERATORS),
            transfers=await fetch_rows(connection, statement, limit=MAX_LISTED),
        )


async def load_history(engine: AsyncEngine, request_id: str) -> History:
    """Raises: CommandError where there is no such transfer; Transient."""
    async with transaction(engine) as connection:
        found = await fetch_rows(connection, ONE, request_id=request_id)
        if not found:
            raise CommandError(
                f"there is no transfer {request_id!r}: `slipstream transfers list --all` shows the "
                f"newest {MAX_LISTED}"
            )
        return History(
            transfer=found[0],
            attempts=await fetch_rows(connection, ATTEMPTS, request_id=request_id),
            decisions=await fetch_rows(connection, DECISIONS, subject=request_id),
        )


async def resolve(
    engine: AsyncEngine, request_id: str, *, transaction_hash: str | None, why: str
) -> str:
    """Record what became of a lost transfer; tx-monitor publishes it. ``transaction_hash``: the
    transaction that transferred the amount; None: it was not transferred.

    Return what was done, in a line. Raises: CommandError, Transient.
    """
    transferred = transaction_hash is not None
    state = TransferState.FINAL if transferred else TransferState.FINAL_REVERTED
    async with transaction(engine) as connection:
        resolved = await fetch_rows(
            connection,
            RESOLVE,
            request_id=request_id,
            state=state.value,
            tx_hash=transaction_hash or "",
            reason="" if transferred else f"an operator found that it was not transferred: {why}",
            by=getpass.getuser(),
            decision="transferred" if transferred else "not_transferred",
            why=why,
        )
    if not resolved:
        history = await load_history(engine, request_id)
        raise CommandError(
            f"transfer {request_id!r} is {history.transfer.state}: only a lost one is resolved by "
            "hand"
        )
    return f"transfer {request_id} is {state.value} now; tx-monitor publishes it"


async def resume(engine: AsyncEngine, operator: str, *, why: str) -> str:
    """Let a halted operator wallet begin transfers again; return what was done, in a line.

    Raises: CommandError, Transient.
    """
    async with transaction(engine) as connection:
        # What is lost is recorded with the halt: it is looked for when the halt is locked.
        await fetch_rows(connection, LOCK_OPERATOR, operator=operator)
        lost = await fetch_rows(connection, LOST_OF_OPERATOR, operator=operator)
        if lost:
            raise CommandError(
                f"what became of transfer {lost[0].request_id!r} is not known: resolve it first, "
                "by `slipstream transfers resolve`"
            )
        resumed = await fetch_rows(
            connection, RESUME, operator=operator, by=getpass.getuser(), why=why
        )
    if not resumed:
        raise CommandError(f"operator wallet {operator} is not halted, or has sent nothing yet")
    return f"operator wallet {operator} begins transfers again"


def build_overview(overview: Overview) -> list[Group]:
    return [
        build_table(
            "Operator wallets",
            ("operator wallet", ">next nonce", ">queued", ">under way", "state"),
            [_operator_row(row) for row in overview.operators],
        ),
        build_table(
            "Transfers",
            ("request", "proxy", "purpose", ">amount", "of", "state", ">nonce", "requested"),
            [_transfer_row(row) for row in overview.transfers],
        ),
    ]


def print_whole(history: History, console: Console) -> None:
    """Print what was requested, each attempt, and what was decided."""
    console.print(build_facts(f"transfer {history.transfer.request_id}", _list_facts(history)))
    console.print(
        build_table(
            "Attempts",
            (">no.", "kind", "transaction", ">max fee", ">tip (gwei)", "signed"),
            [_attempt_row(row) for row in history.attempts],
        )
    )
    if history.decisions:
        console.print(
            build_table(
                "Decisions",
                ("at", "by", "decision", "why"),
                [(format_time(d.made_at), d.made_by, d.decision, d.why) for d in history.decisions],
            )
        )


def _operator_row(row: Any) -> tuple[str, ...]:
    state = "active"
    if row.halted_because:
        state = f"NEEDS AN OPERATOR: halted since {row.halted_at:%H:%M:%S}: {row.halted_because}"
    return row.operator, str(row.next_nonce), str(row.queued), str(row.under_way), state


def _transfer_row(row: Any) -> tuple[str, ...]:
    return (
        row.request_id,
        row.proxy,
        row.purpose,
        format_amount(row.amount),
        "pUSD" if row.token_id is None else "shares",
        "NEEDS AN OPERATOR: lost" if row.state == TransferState.LOST else row.state,
        "-" if row.nonce is None else str(row.nonce),
        format_time(row.requested_at),
    )


def _attempt_row(row: Any) -> tuple[str, ...]:
    return (
        str(row.number),
        row.kind,
        row.tx_hash,
        _format_gwei(row.max_fee),
        _format_gwei(row.tip),
        format_time(row.signed_at),
    )


def _format_gwei(wei: int) -> str:
    return format_number(as_decimal(wei).scaleb(-3))


def _list_facts(history: History) -> list[tuple[str, str]]:
    row = history.transfer
    arrow = "to" if row.direction == "to_proxy" else "from"
    what = "pUSD" if row.token_id is None else f"shares of {row.token_id}"
    facts = [
        ("amount", f"{format_amount(row.amount)} {what}"),
        ("between", f"{row.operator} {arrow} {row.proxy}"),
        ("purpose", f"{row.purpose} of intent {row.intent_id}"),
        ("state", f"{row.state}{': ' if row.reason else ''}{row.reason}"),
        ("requested", format_time(row.requested_at)),
        ("changed", format_time(row.changed_at)),
    ]
    if row.send_before is not None:
        facts.append(("given up after", format_time(row.send_before)))
    if row.nonce is not None:
        facts.append(("nonce", str(row.nonce)))
    if row.mined_hash:
        facts.append(("transaction", f"{row.mined_hash} in block {row.block_number}"))
    return facts
