"""Formats prices and amounts as the venue writes them."""

from decimal import ROUND_HALF_EVEN, Decimal

import orjson

from services.paper_venue.exchange.orders import PRICE_ONE

_MICRO = 1_000_000


def _trimmed(whole: int, fraction: int, places: int) -> str:
    if not fraction:
        return str(whole)
    return f"{whole}.{fraction:0{places}d}".rstrip("0")


def amount_text(micros: int) -> str:
    """Base units as the decimal text of CLOB replies: ``1500000`` is ``"1.5"``."""
    return _trimmed(*divmod(micros, _MICRO), places=6)


def price_text(price: int) -> str:
    """1/10,000 USDC as decimal text: ``4900`` is ``"0.49"``."""
    return _trimmed(*divmod(price, PRICE_ONE), places=4)


def average_price_text(collateral: int, shares: int) -> str:
    """The average price of several fills (USDC per share), to 1/1,000,000 USDC."""
    exact = (Decimal(collateral) / Decimal(shares)).quantize(
        Decimal("0.000001"), rounding=ROUND_HALF_EVEN
    )
    return amount_text(int(exact * _MICRO))


def json_number(text: str) -> orjson.Fragment:
    """A decimal text as a JSON number with exactly these digits: no float is involved."""
    return orjson.Fragment(text)
