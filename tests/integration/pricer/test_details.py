"""What the venue's catalogue says of a market, attached to quotes, at the paper venue."""

from datetime import UTC, datetime

import pytest

from shared.domain.money import Side
from shared.messages.filters import MarketDetails
from shared.messages.intents import Quote
from tests.integration.paper_venue.venue import PaperVenue
from tests.integration.pricer.pricer_at_venue import PricerAtVenue, pricer_at

pytestmark = pytest.mark.integration


async def details_of_quote(pricer: PricerAtVenue) -> MarketDetails:
    quote = await pricer.quote(Side.BUY, needs_market_details=True)
    assert isinstance(quote, Quote)
    assert quote.market is not None
    return quote.market


@pytest.mark.parametrize("outcome", [0, 1])
@pytest.mark.parametrize(
    ("market", "tags"), [(0, ("sports",)), (1, ("economy", "interest-rates"))], ids=["v1", "v2"]
)
async def test_a_quote_has_the_details_of_its_tokens_market(
    venue: PaperVenue, market: int, outcome: int, tags: tuple[str, ...]
) -> None:
    (expected,) = [
        each
        for each in (await venue.control("world"))["markets"]
        if venue.token(market, outcome) in each["token_ids"]
    ]
    async with pricer_at(venue, token=venue.token(market, outcome)) as pricer:
        details = await details_of_quote(pricer)
        again = await details_of_quote(pricer)
        without = await pricer.quote(Side.BUY)

    assert details.condition_id == expected["condition_id"]
    assert details.tags == tags
    assert details.liquidity_usdc
    assert details.ends_at == datetime(2027, 12, 31, 12, tzinfo=UTC)
    assert again == details
    assert isinstance(without, Quote)
    assert without.market is None
