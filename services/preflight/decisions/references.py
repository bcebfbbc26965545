"""The price that a copy's price is compared with. Pure."""

from decimal import Decimal

from services.preflight.decisions.facts import PreflightFacts


def reference_price(facts: PreflightFacts) -> Decimal:
    """The leader's price. Where no trade is copied there is none: then the middle between the
    book's best bid and ask, so that a book that is wide or has one side only is refused as
    slippage; of a price that comes from no book what bounds it, else itself.
    """
    quote, leader_price = facts.quote, facts.quoted.intent.leader_price
    if leader_price is not None:
        return leader_price
    if quote.opposite_best is not None:
        return (quote.best + quote.opposite_best) / 2
    return quote.best if quote.bound is None else quote.bound.price
