"""`slipstream drift`: what leaders hold against what their followers hold by copying them, by the
same comparison that preflight makes.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from rich.console import Console, Group
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.following import run_with_database
from cli.formatting import build_table, format_amount
from cli.settings import System
from services.preflight.adapters.levels import load_held_tokens
from services.preflight.adapters.reconciliation import ChainLevels
from services.preflight.decisions.expectations import expected_shares
from services.preflight.decisions.levels import HeldToken, IntendCopy, MoveBase, Nothing, Reading
from services.preflight.decisions.reconciliation import decide
from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.clock import utc_now
from shared.db.controls import load_controls
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.follows import Controls
from shared.domain.money import cost_floor
from shared.messages.intents import CopyCause
from shared.polymarket.clob import Clob, NoMarket
from shared.polymarket.settings import VenueSettings
from shared.settings import read

COLUMNS = (
    "leader",
    "token",
    "follower",
    ">leader held",
    ">at block",
    ">holds now",
    ">expected",
    ">follow holds",
    ">at most",
    ">too much",
    ">USDC",
    "what happens",
)
MAX_PRICE_REQUESTS = 8
"""At once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One token of a follow against the same token of its leader. Amounts in micro-shares."""

    held: HeldToken
    reading: Reading
    expected: int | None
    """What the leader should hold by his known trades; None: never compared."""
    sells: int
    what_happens: str


def show(system: System) -> None:
    """Raises: CommandError, InvalidSettings, Transient."""
    rpc_url = system.variable("POLYGON_RPC_URL")
    database, venue = system.database_settings(), _read_venue(system)

    async def load(engine: AsyncEngine) -> Group:
        controls = await load_controls(engine)
        held = await load_held_tokens(engine, controls.follows_that_sell(), controls)
        async with ChainClient(Rpc(rpc_url)) as chain:
            readings = await ChainLevels(chain).read(held) if held else {}
        drifts = [compare(each, readings[each.key], controls, now=utc_now()) for each in held]
        prices = await _fetch_midpoints(venue, {each.held.token_id for each in drifts})
        return build_drift_table(drifts, prices)

    Console().print(run_with_database(database, load))


def compare(held: HeldToken, reading: Reading, controls: Controls, *, now: datetime) -> Drift:
    """What preflight would do by this reading, once it was seen for long enough."""
    if held.base is None:
        return Drift(
            held=held, reading=reading, expected=None, sells=0, what_happens="not compared yet"
        )
    leader, proxy = held.follow.leader, held.follow.proxy
    step = decide(
        held,
        reading,
        mode=controls.mode(leader=leader, proxy=proxy),
        closing_version=controls.closing_version(leader=leader, proxy=proxy),
        pending=None,
        act_after=timedelta(0),
        now=now,
    )
    match step:
        case IntendCopy(intent=intent):
            sells = intent.shares
            happens = (
                "all is sold: the follow ended, or is closed out"
                if intent.cause is CopyCause.ENDED
                else f"sold once seen for the time of PREFLIGHT_RECONCILE_AFTER ({intent.cause})"
            )
        case Nothing(why=why):
            sells, happens = 0, why or "nothing to do"
        case MoveBase():
            sells, happens = 0, "nothing to do"
        case _:
            raise TypeError(f"without a wait there is no {step}")
    return Drift(
        held=held,
        reading=reading,
        expected=expected_shares(held.base, held.accounted, reading),
        sells=sells,
        what_happens=happens,
    )


def build_drift_table(drifts: Sequence[Drift], prices: Mapping[str, Decimal]) -> Group:
    """Rows with the largest difference first."""
    ordered = sorted(drifts, key=lambda drift: -drift.sells)
    title = "Leaders against followers"
    if drifts:
        title += f" at block {drifts[0].reading.block_number}"
    return build_table(title, COLUMNS, [_build_row(each, prices) for each in ordered])


def _build_row(drift: Drift, prices: Mapping[str, Decimal]) -> tuple[str, ...]:
    held, base = drift.held, drift.held.base
    price = prices.get(held.token_id)
    return (
        held.follow.leader,
        held.token_id,
        held.follow.proxy,
        "-" if base is None else format_amount(base.leader_shares),
        "-" if base is None else str(base.block_number),
        format_amount(drift.reading.leader_shares),
        "-" if drift.expected is None else format_amount(drift.expected),
        format_amount(held.shares),
        format_amount(held.shares - drift.sells),
        format_amount(drift.sells),
        "-" if price is None else format_amount(cost_floor(drift.sells, price)),
        drift.what_happens,
    )


def _read_venue(system: System) -> VenueSettings | None:
    """The venue of the environment; None for a local stack whose venue is not named: the live one
    does not know its tokens.
    """
    clob_url = system.variables.get("CLOB_URL")
    if clob_url:
        return VenueSettings.model_validate({"clob_url": clob_url})
    return None if system.parts else read(VenueSettings)


async def _fetch_midpoints(venue: VenueSettings | None, tokens: set[str]) -> dict[str, Decimal]:
    """The prices that can be had: without one, the difference is shown in shares alone."""
    prices: dict[str, Decimal] = {}
    if venue is None:
        return prices
    limit = asyncio.Semaphore(MAX_PRICE_REQUESTS)

    async def fetch(clob: Clob, token: str) -> None:
        with suppress(Transient, InvalidMessage, NoMarket):
            async with limit:
                prices[token] = await clob.fetch_midpoint(token)

    async with Clob(venue, now=utc_now) as clob:
        await asyncio.gather(*(fetch(clob, token) for token in tokens))
    return prices
