"""The complementary token of a leader's token: asked for once, kept in PostgreSQL, and had from
there whatever the venue says later.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.adapters import VenueComplements
from services.ingest.adapters.complements import RETRY_AFTER
from services.ingest.decisions import Complement
from shared.clock import utc_now
from shared.db.engine import open_engine
from shared.domain.errors import Transient
from shared.domain.outcomes import OutcomeToken
from shared.messages.intents import Missing
from shared.polymarket.clob import Clob, NoMarket
from shared.polymarket.settings import VenueSettings
from shared.testing.waiting import eventually
from tests.builders import NOON, TOKEN, a_market
from tests.fakes import Clock
from tests.integration.paper_venue.venue import PaperVenue
from tests.patience import patient_settings
from tests.unit.pricer.harness import FakeClob

pytestmark = pytest.mark.integration

INSTANT, LONG = timedelta(microseconds=1), timedelta(seconds=60)
YES, NO = OutcomeToken(token_id=TOKEN, outcome="Yes"), OutcomeToken(token_id="7", outcome="No")


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


class Ingest:
    """The complements of one process, on a venue in memory."""

    def __init__(self, engine: AsyncEngine, *, max_wait: timedelta = LONG) -> None:
        self.clock = Clock(NOON)
        self.clob = FakeClob(self.clock)
        self.clob.market = a_market(tokens=(YES, NO))
        self.complements = VenueComplements(engine, self.clob, now=self.clock, max_wait=max_wait)

    async def find(self, token_id: str = TOKEN) -> Complement:
        return await self.complements.find_complement(token_id)


async def test_a_token_is_asked_for_once_and_then_known_in_both_directions(
    engine: AsyncEngine,
) -> None:
    ingest, restarted = Ingest(engine), Ingest(engine)
    restarted.clob.fail(NoMarket("the market is closed"))

    assert await ingest.find() == NO
    assert await ingest.find() == NO
    assert ingest.clob.requested == [TOKEN]
    assert (await restarted.find(), await restarted.find("7")) == (NO, YES)
    assert restarted.clob.requested == []


async def test_all_who_wait_share_one_request(engine: AsyncEngine) -> None:
    ingest = Ingest(engine)
    ingest.clob.may_reply.clear()

    waiting = [asyncio.create_task(ingest.find()) for _ in range(20)]
    await eventually(lambda: ingest.clob.requested)
    ingest.clob.may_reply.set()

    assert set(await asyncio.gather(*waiting)) == {NO}
    assert ingest.clob.requested == [TOKEN]


@pytest.mark.parametrize(
    ("failure", "missing"),
    [(Transient("500"), Missing.UNAVAILABLE), (NoMarket("404"), Missing.NO_MARKET)],
)
async def test_what_could_not_be_had_is_asked_for_again_only_after_a_while(
    engine: AsyncEngine, failure: Exception, missing: Missing
) -> None:
    ingest = Ingest(engine)
    ingest.clob.fail(failure)
    assert await ingest.find() is missing
    requests = len(ingest.clob.requested)
    ingest.clob.failures = []

    ingest.clock.now += RETRY_AFTER - INSTANT
    assert await ingest.find() is missing
    assert len(ingest.clob.requested) == requests
    ingest.clock.now += INSTANT
    assert await ingest.find() == NO


async def test_a_complement_that_the_venue_names_late_is_stored_for_later(
    engine: AsyncEngine,
) -> None:
    ingest = Ingest(engine, max_wait=INSTANT)
    ingest.clob.may_reply.clear()
    assert await ingest.find() is Missing.UNAVAILABLE
    ingest.clob.may_reply.set()

    await eventually(lambda: is_stored(engine), what="the complement")
    assert await ingest.find() == NO
    assert ingest.clob.requested == [TOKEN]


async def is_stored(engine: AsyncEngine) -> bool:
    return await Ingest(engine).complements.load_complement(TOKEN) == NO


async def test_the_store_alone_says_what_a_sale_needs(engine: AsyncEngine) -> None:
    ingest, restarted = Ingest(engine), Ingest(engine)

    assert await ingest.complements.load_complement(TOKEN) is Missing.UNAVAILABLE
    assert ingest.clob.requested == []
    await ingest.find()

    assert await ingest.complements.load_complement(TOKEN) == NO
    assert await restarted.complements.load_complement("7") == YES
    assert restarted.clob.requested == []


@pytest.mark.parametrize("tokens", [(YES,), (YES, NO, OutcomeToken(token_id="8", outcome="Else"))])
async def test_a_market_that_is_not_binary_has_no_complement(
    engine: AsyncEngine, tokens: tuple[OutcomeToken, ...]
) -> None:
    ingest = Ingest(engine)
    ingest.clob.market = a_market(tokens=tokens)

    assert await ingest.find() is Missing.NO_MARKET


@pytest.mark.parametrize("market", [0, 1], ids=["v1", "v2"])
async def test_the_complement_of_each_outcome_at_the_paper_venue(
    engine: AsyncEngine, venue: PaperVenue, market: int
) -> None:
    settings = VenueSettings.model_validate({"clob_url": venue.urls["clob"]})
    yes, no = venue.token(market, 0), venue.token(market, 1)
    async with Clob(settings, now=utc_now) as clob:
        complements = VenueComplements(engine, clob, now=utc_now, max_wait=LONG)

        assert await complements.find_complement(yes) == OutcomeToken(token_id=no, outcome="No")
        assert await complements.find_complement(no) == OutcomeToken(token_id=yes, outcome="Yes")
