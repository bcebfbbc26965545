"""Book payloads have the market's version, and the hash that py-clob-client-v2 computes."""

from dataclasses import replace

import pytest

from services.paper_venue.exchange.book import Book
from services.paper_venue.exchange.orders import Market, MarketVersion
from services.paper_venue.http.payloads import Json, book_summary
from services.paper_venue.http.socket_events import book_event
from tests.unit.paper_venue.builders import MARKET

V2 = replace(MARKET, version=MarketVersion.V2, neg_risk=True)


def a_summary(market: Market) -> Json:
    return book_summary(market, 0, Book(), last_price="0.5", now_ms=1)


@pytest.mark.parametrize("market", [MARKET, replace(MARKET, neg_risk=True), V2])
def test_only_books_of_version_2_have_a_version_field(market: Market) -> None:
    summary = a_summary(market)

    expected = "v2" if market.version is MarketVersion.V2 else None
    assert (summary["neg_risk"], summary.get("version"), book_event(summary).get("version")) == (
        market.neg_risk,
        expected,
        expected,
    )


def test_the_hash_does_not_cover_the_version() -> None:
    assert a_summary(V2)["hash"] == a_summary(replace(MARKET, neg_risk=True))["hash"]


def test_a_book_on_the_socket_omits_the_fields_that_only_rest_has() -> None:
    assert set(a_summary(V2)) - set(book_event(a_summary(V2))) == {"min_order_size", "neg_risk"}
