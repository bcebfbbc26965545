"""What a follow's filters are judged by, and the filters themselves, as parts of messages."""

from decimal import Decimal

from pydantic import AwareDatetime

from shared.messages.base import ExactDecimal, Fact, Micros


class MarketDetails(Fact):
    """What the venue's catalogue says of a token's market beside its trading rules."""

    condition_id: str
    """In lower case, 32 bytes."""
    tags: tuple[str, ...] | None = None
    """Their slugs, in lower case. None: the venue does not say."""
    liquidity_usdc: Micros | None = None
    """As the venue computes it, in micro-USDC. None: the venue does not say."""
    ends_at: AwareDatetime | None = None
    """The market's announced end. None: the venue does not say."""
    read_at: AwareDatetime
    """When they were requested."""


class FollowFilters(Fact):
    """The filters of a follow, as in its terms. Amounts in micro-USDC; what is None or empty
    filters nothing.
    """

    min_leader_usdc: Micros = 0
    min_price: ExactDecimal = Decimal(0)
    max_price: ExactDecimal = Decimal(1)
    max_spread_bps: ExactDecimal | None = None
    min_liquidity_usdc: Micros | None = None
    min_seconds_to_end: int | None = None
    max_seconds_to_end: int | None = None
    tags: tuple[str, ...] = ()
    excluded_tags: tuple[str, ...] = ()
    markets: tuple[str, ...] = ()
    excluded_markets: tuple[str, ...] = ()
