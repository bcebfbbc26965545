"""Loads and saves follows and modes, and keeps a service up to date with them within a second."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import fields
from datetime import datetime
from typing import Any

import asyncpg
from pydantic import TypeAdapter
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import tables
from shared.db.engine import (
    Connection,
    autocommit,
    fetch_rows,
    open_single_connection,
    transaction,
)
from shared.db.errors import translated_errors
from shared.db.settings import ControlsSettings
from shared.domain.errors import Transient
from shared.domain.follows import (
    Controls,
    Follow,
    Mode,
    group_by_leader,
    require_no_cycle,
)
from shared.domain.terms import EndMode, EntryMode, ExitMode, Filters, Tier
from shared.observe import metrics

logger = logging.getLogger(__name__)

CHANNEL = "slipstream_controls"
LOCK = 7_261_043_119
"""An advisory lock: changes wait for one another, so that versions grow in the order of commits."""

TIERS = TypeAdapter(tuple[Tier, ...])
FILTERS = TypeAdapter(Filters)
FOLLOW_FIELDS = tuple(field.name for field in fields(Follow))
NEWEST_FOLLOWS = """
select distinct on (follow_id) * from control.follows
where version <= :version order by follow_id, version desc
"""
NEWEST_MODES = """
select distinct on (scope) scope, mode, version from control.modes
where version <= :version order by scope, version desc
"""
RESUMPTIONS = """
select kept.follow_id, resumed.made_at
from (
    select follow_id, max(version) as version from control.follows
    where version <= :version and not active and at_end = 'keep' group by follow_id
) as kept
join lateral (
    select v.made_at from control.follows f join control.versions v on v.version = f.version
    where f.follow_id = kept.follow_id and f.version > kept.version and f.version <= :version
    order by f.version limit 1
) as resumed on true
"""
"""When the follows began again that had ended and kept their shares."""
NEWEST_VERSION = "select coalesce(max(version), 0) as version from control.versions"


async def load_controls(engine: AsyncEngine, version: int | None = None) -> Controls:
    """Load the controls as of ``version``, or the newest.

    Raises: Transient where the database cannot be reached.
    """
    async with transaction(engine) as connection:
        if version is None:
            version = await load_newest_version(connection)
        rows = await fetch_rows(connection, NEWEST_FOLLOWS, version=version)
        modes = await fetch_rows(connection, NEWEST_MODES, version=version)
        resumptions = await fetch_rows(connection, RESUMPTIONS, version=version)
    follows = [_parse_follow(row) for row in rows]
    return Controls(
        version=version,
        follows_by_leader=group_by_leader(follows),
        mode_by_scope={row.scope: Mode(row.mode) for row in modes},
        ended_by_leader=group_by_leader(follows, active=False),
        version_by_scope={row.scope: row.version for row in modes},
        resumed_at_by_follow={row.follow_id: row.made_at for row in resumptions},
    )


async def load_newest_version(connection: Connection) -> int:
    """Return the newest version of the controls; 0 where nothing was ever changed."""
    (row,) = await fetch_rows(connection, NEWEST_VERSION)
    return int(row.version)


async def save_follows(
    engine: AsyncEngine, follows: Sequence[Follow], *, by: str, change: str
) -> int:
    """Append new versions of ``follows``, all as one change; their own ``version`` is ignored.

    Return the version that they got. Raises: FollowCycle, and then nothing is saved.
    """

    async def append(connection: AsyncConnection, version: int) -> None:
        rows = [_build_follow_row(follow, version) for follow in follows]
        await connection.execute(insert(tables.follows), rows)
        saved = await fetch_rows(connection, NEWEST_FOLLOWS, version=version)
        require_no_cycle(map(_parse_follow, saved), added=follows)

    return await _change(engine, append, by=by, change=change)


async def save_mode(engine: AsyncEngine, scope: str, mode: Mode, *, by: str) -> int:
    """Set the mode of ``scope``, and return the version of the change."""

    async def append(connection: AsyncConnection, version: int) -> None:
        await connection.execute(
            insert(tables.modes), {"scope": scope, "version": version, "mode": mode.value}
        )

    return await _change(engine, append, by=by, change=f"{scope} is {mode}")


async def _change(
    engine: AsyncEngine, append: Callable[[AsyncConnection, int], Any], *, by: str, change: str
) -> int:
    async with transaction(engine) as connection:
        await connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        version = await load_newest_version(connection) + 1
        await connection.execute(
            insert(tables.versions), {"version": version, "made_by": by, "change": change}
        )
        await append(connection, version)
        await connection.execute(
            text("select pg_notify(:channel, :version)"),
            {"channel": CHANNEL, "version": str(version)},
        )
    return version


def _build_follow_row(follow: Follow, version: int) -> dict[str, Any]:
    values = {name: getattr(follow, name) for name in FOLLOW_FIELDS}
    return values | {
        "version": version,
        "tiers": TIERS.dump_json(follow.tiers).decode(),
        "filters": FILTERS.dump_json(follow.filters).decode(),
    }


def _parse_follow(row: Any) -> Follow:
    values = {name: getattr(row, name) for name in FOLLOW_FIELDS}
    return Follow(
        **values
        | {
            "entries": EntryMode(row.entries),
            "exits": ExitMode(row.exits),
            "at_end": EndMode(row.at_end),
            "tiers": TIERS.validate_json(row.tiers),
            "filters": FILTERS.validate_json(row.filters),
        }
    )


class ControlsWatch:
    """Keeps the newest controls in memory.

    It is updated by NOTIFY and, in case a notification is lost, by a query every
    ``ControlsSettings.refresh_interval``.
    """

    name = "controls"

    def __init__(
        self, engine: AsyncEngine, settings: ControlsSettings, *, now: Callable[[], datetime]
    ) -> None:
        self._engine, self._now = engine, now
        self._refresh_interval, self._max_age = settings.refresh_interval, settings.max_age
        self._controls: Controls | None = None
        self._leaders: frozenset[str] = frozenset()
        self._confirmed_at: datetime | None = None
        self._notified = asyncio.Event()
        self._listener: asyncpg.Connection | None = None

    def current(self) -> Controls:
        """Return the newest controls.

        Raises: Transient where they were not confirmed recently: nothing new may be started with
        old ones.
        """
        controls = self.known()
        if not self.is_confirmed:
            raise Transient(
                f"the controls were not confirmed within {self._max_age.total_seconds():.1f} s"
            )
        return controls

    def known(self) -> Controls:
        """Return the newest controls that were read, however old.

        Raises: Transient where none have been read.
        """
        if self._controls is None:
            raise Transient("the controls have not been read yet")
        return self._controls

    async def as_of(self, version: int) -> Controls:
        """Return the controls as of ``version``; a redelivery is judged by the same ones again."""
        if self._controls is not None and self._controls.version == version:
            return self._controls
        return await load_controls(self._engine, version)

    def leaders(self) -> AbstractSet[str]:
        """Return the leaders of whom anything is copied, by the newest controls that were read."""
        return self._leaders

    @property
    def is_ready(self) -> bool:
        """Whether a service may start anything new."""
        return self.is_confirmed

    @property
    def is_confirmed(self) -> bool:
        return self._confirmed_at is not None and self._now() - self._confirmed_at <= self._max_age

    async def refresh(self) -> None:
        """Load the controls where there is a newer version. Raises: Transient."""
        requested_at = self._now()
        async with autocommit(self._engine) as connection:
            version = await load_newest_version(connection)
        if self._controls is None or self._controls.version != version:
            self._controls = await load_controls(self._engine, version)
            self._leaders = self._controls.leaders()
            metrics.controls_version(version)
        self._confirmed_at = requested_at

    async def __call__(self, _: object) -> None:
        """Keep the controls up to date until cancelled; a feed that publishes nothing."""
        try:
            while True:
                self._notified.clear()
                await self._confirm()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._refresh_interval.total_seconds()):
                        await self._notified.wait()
        finally:
            if self._listener is not None:
                self._listener.terminate()

    async def _confirm(self) -> None:
        try:
            if self._listener is None or self._listener.is_closed():
                self._listener = await self._listen()
            await self.refresh()
        except Transient as error:
            logger.warning("the controls could not be confirmed: %s", error)
            # It may lead to the same server or network that does not answer: silence is what it
            # receives anyway.
            if self._listener is not None:
                self._listener.terminate()

    async def _listen(self) -> asyncpg.Connection:
        listener = await open_single_connection(self._engine)
        try:
            with translated_errors():
                await listener.add_listener(CHANNEL, lambda *_: self._notified.set())
        except Transient:
            listener.terminate()
            raise
        return listener
