"""A batch is quoted as its messages are alone, where nothing has to be requested."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.money import Side
from shared.messages.intents import CopyIntended, IntentQuoted, Missing, Quote
from shared.streams.routes import Outcome, Received
from tests.builders import NOON, TOKEN, intended, seconds
from tests.unit.pricer.harness import MAX_AGE, PricerCaches, a_snapshot, counted

OTHER = "12"


def received(**intent: Any) -> Received[CopyIntended]:
    return Received(message=intended(**intent), traceparent=None)


async def a_warm_pricer(*tokens: str) -> PricerCaches:
    """With the tokens' books and the first one's market and details in its caches."""
    pricer = PricerCaches()
    await pricer.market()
    await pricer.details.fetch_details(TOKEN)
    for token_id in tokens:
        await pricer.know_book_from_channel(token_id)
    return pricer


def best(outcome: Outcome) -> str:
    assert isinstance(outcome, list)
    (quoted,) = outcome
    assert isinstance(quoted, IntentQuoted)
    assert isinstance(quoted.quote, Quote)
    return str(quoted.quote.best)


async def test_copies_are_quoted_at_once_where_market_and_book_are_known() -> None:
    pricer = await a_warm_pricer(TOKEN, OTHER)
    quoted_before = counted("quotes", source="socket")

    bought, other, sold = await pricer.handler.on_copies_intended(
        [received(), received(token_id=OTHER), received(side=Side.SELL)]
    )

    assert (best(bought), best(sold)) == ("0.55", "0.45")
    assert other is None  # its market is not known
    assert pricer.clob.requested == []
    assert counted("quotes", source="socket") == quoted_before + 2


async def test_a_copy_counts_its_cache_requests_once_also_where_the_batch_leaves_it() -> None:
    def hits() -> tuple[float, float]:
        return (
            counted("cache_requests", cache="quotes", result="hit"),
            counted("cache_requests", cache="market_details", result="hit"),
        )

    pricer = await a_warm_pricer(TOKEN)
    pricer.clock.now += seconds(301)  # the details are too old
    pricer.quotes.apply(a_snapshot("0.45", "0.55"))
    quotes, details = hits()

    (left,) = await pricer.handler.on_copies_intended([received(needs_market_details=True)])
    assert (left, hits()) == (None, (quotes, details))

    await pricer.details.fetch_details(TOKEN)
    (quoted,) = await pricer.handler.on_copies_intended([received(needs_market_details=True)])
    assert best(quoted) == "0.55"
    assert hits() == (quotes + 1, details + 1)


async def test_a_token_that_a_batch_asks_for_is_kept_from_the_market_channel() -> None:
    pricer = await a_warm_pricer()

    assert await pricer.handler.on_copies_intended([received()]) == [None]

    assert pricer.take_subscription_changes() == [("subscribe", (TOKEN,))]


async def test_an_old_book_is_requested_by_the_ordinary_route() -> None:
    pricer = await a_warm_pricer(TOKEN)
    pricer.clock.now += MAX_AGE + timedelta(microseconds=1)

    assert await pricer.handler.on_copies_intended([received()]) == [None]


async def test_a_book_that_changes_is_not_quoted_as_it_was() -> None:
    pricer = await a_warm_pricer(TOKEN)
    (first,) = await pricer.handler.on_copies_intended([received()])
    pricer.quotes.apply(a_snapshot("0.46", "0.56"))

    (second,) = await pricer.handler.on_copies_intended([received()])

    assert (best(first), best(second)) == ("0.55", "0.56")


async def test_a_crossed_book_is_no_price_and_is_left_to_the_ordinary_route() -> None:
    pricer = await a_warm_pricer(TOKEN)
    pricer.clock.now += MAX_AGE + timedelta(microseconds=1)  # what was fetched is too old
    pricer.quotes.apply(a_snapshot("0.60", "0.50"))

    assert await pricer.handler.on_copies_intended([received()]) == [None]


intents = st.fixed_dictionaries(
    {},
    optional={
        "token_id": st.sampled_from([TOKEN, OTHER]),
        "side": st.sampled_from(Side),
        "usdc": st.integers(0, 10**8),
        "shares": st.integers(0, 10**9),
        "needs_market_details": st.booleans(),
        "complement_missing": st.sampled_from([None, *Missing]),
        "continues": st.sampled_from(["", "1" * 32]),
        "intended_at": st.sampled_from([NOON, NOON + seconds(1)]),
    },
)


@given(
    fields=st.lists(intents, min_size=1, max_size=4),
    known=st.sets(st.sampled_from([TOKEN, OTHER])),
    age=st.sampled_from([seconds(0), seconds(1), seconds(3), seconds(299), seconds(601)]),
)
async def test_a_batch_gives_what_the_ordinary_route_gives(
    fields: list[dict[str, Any]], known: set[str], age: timedelta
) -> None:
    pricer = await a_warm_pricer(*known)
    pricer.clock.now += age
    batch = [received(**each) for each in fields]

    outcomes = await pricer.handler.on_copies_intended(batch)

    assert len(outcomes) == len(batch)
    for each, outcome in zip(batch, outcomes, strict=True):
        pricer.clob.requested.clear()
        alone = await pricer.handler.on_copy_intended(each.message)
        assert outcome is None or outcome == alone
        assert outcome is None or pricer.clob.requested == []
