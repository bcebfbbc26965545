"""The complementary tokens of leaders' tokens: kept in PostgreSQL, asked for at the venue once."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.decisions import Complement
from shared.caching.bounded_wait import BoundedWait
from shared.caching.lru_cache import LruCache
from shared.caching.single_flight import SingleFlight
from shared.db import tables
from shared.db.engine import autocommit, fetch_rows
from shared.db.sql import Batch
from shared.domain.outcomes import OutcomeToken
from shared.messages.intents import Missing
from shared.polymarket.attempts import fetch_twice
from shared.polymarket.clob import Clob
from shared.polymarket.market_data import Market

MAX_CACHED = 10_000
"""Tokens in memory; the others are read from the database."""
RETRY_AFTER = timedelta(seconds=5)
"""How long the venue is not asked again about a token whose complement could not be had."""
PAUSE = timedelta(seconds=30)
"""How long no trade waits for a venue that did not answer in time, unless it does by then."""
REQUEST_TIMEOUT = timedelta(seconds=5)
"""Of a request, the second attempt included; a trade waits for less."""

LOAD = "select complement_id, outcome from ingest.complements where token_id = :token_id"
ROWS = Batch.from_table(tables.complements, *tables.complements.columns.keys())
RECORD = f"""
insert into ingest.complements ({ROWS.names})
select * from {ROWS.unnest("given")}
on conflict do nothing
"""


class VenueComplements:
    """What is found is stored before it is returned. So a token that was bought once can be sold,
    whatever the venue says by then. It is waited for at most ``max_wait``; what comes later is
    stored for the next trade.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        clob: Clob,
        *,
        now: Callable[[], datetime],
        max_wait: timedelta,
    ) -> None:
        self._engine, self._clob, self._now = engine, clob, now
        self._known: LruCache[str, OutcomeToken] = LruCache(MAX_CACHED)
        self._missing: LruCache[str, tuple[Missing, datetime]] = LruCache(MAX_CACHED)
        self._load = SingleFlight(self._load_from_store)
        self._fetch = BoundedWait(self._fetch_and_keep, max_wait=max_wait, pause=PAUSE, now=now)

    async def load_complement(self, token_id: str) -> Complement:
        return self._known.get(token_id) or await self._load(token_id) or Missing.UNAVAILABLE

    async def find_complement(self, token_id: str) -> Complement:
        complement = await self.load_complement(token_id)
        if isinstance(complement, OutcomeToken):
            return complement
        missing = self._missing.get(token_id)
        if missing is not None and self._now() - missing[1] < RETRY_AFTER:
            return missing[0]
        return await self._fetch(token_id) or Missing.UNAVAILABLE

    async def _load_from_store(self, token_id: str) -> OutcomeToken | None:
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(connection, LOAD, token_id=token_id)
        for row in rows:
            complement = OutcomeToken(token_id=row.complement_id, outcome=row.outcome)
            self._known.put(token_id, complement)
            return complement
        return None

    async def _fetch_and_keep(self, token_id: str) -> Complement:
        complement = await self._fetch_from_venue(token_id)
        if isinstance(complement, Missing):
            self._missing.put(token_id, (complement, self._now()))
        else:
            self._known.put(token_id, complement)
        return complement

    async def _fetch_from_venue(self, token_id: str) -> Complement:
        market = await fetch_twice(
            lambda: self._clob.fetch_market(token_id),
            what=f"the market of the leader's token {token_id}",
            timeout_s=REQUEST_TIMEOUT.total_seconds(),
        )
        if isinstance(market, Missing):
            return market
        complement = market.find_complement(token_id)
        if complement is None:
            return Missing.NO_MARKET
        await self._record(market)
        return complement

    async def _record(self, market: Market) -> None:
        """Both directions: other leaders may trade the other token."""
        first, second = market.tokens
        rows = [
            {
                "token_id": token.token_id,
                "complement_id": other.token_id,
                "outcome": other.outcome,
            }
            for token, other in ((first, second), (second, first))
        ]
        async with autocommit(self._engine) as connection:
            await fetch_rows(connection, RECORD, **ROWS.parameters(rows))
