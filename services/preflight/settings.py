"""Settings of preflight, from environment variables PREFLIGHT_* and POLYGON_RPC_URL.

The KAFKA_, DATABASE_, CONTROLS_ and OTEL_ variables are read by shared modules.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.chain.addresses import parse_address
from shared.domain.history import KEPT_FOR

MAX_TOKEN = (1 << 256) - 1


def _split(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ValueError(
            "names must stand between its commas; without the variable, everything is allowed"
        )
    return names


def _parse_token(text: str) -> str:
    if not (text.isascii() and text.isdecimal()) or int(text) > MAX_TOKEN:
        raise ValueError(f"{text!r} is no token id: a token id is a decimal number below 2^256")
    return str(int(text))


Addresses = Annotated[
    frozenset[Annotated[str, AfterValidator(parse_address)]] | None,
    NoDecode,
    BeforeValidator(_split),
]
Tokens = Annotated[
    frozenset[Annotated[str, AfterValidator(_parse_token)]] | None,
    NoDecode,
    BeforeValidator(_split),
]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="PREFLIGHT_", frozen=True, use_attribute_docstrings=True
    )

    polygon_rpc_url: HttpUrl = Field(validation_alias="POLYGON_RPC_URL")
    """The node that is asked for balances and allowances."""
    max_quote_age: timedelta = timedelta(seconds=5)
    """A quote that is older when it is judged is refused. An entry whose quote was new enough when
    it was made, and waited, is quoted again."""
    max_last_book_age: timedelta = timedelta(seconds=20)
    """The same for a quote from the last good book, where no current one could be had. Longer than
    PRICER_MAX_LAST_BOOK_AGE."""
    max_bound_age: timedelta = timedelta(seconds=70)
    """How old the last good book or midpoint may be that a fallback price is compared with. Longer
    than PRICER_MAX_BOUND_AGE."""
    max_entry_age: timedelta = timedelta(seconds=60)
    """An entry is refused when the leader's trade is older."""
    max_exit_age: timedelta = timedelta(minutes=10)
    """Since the leader's trade. Never below that of entries: not exiting is a risk of its own; and
    below the 35 days for which the rows of copies are kept."""
    max_trade_usdc: Decimal = Field(default=Decimal(1000), gt=0)
    """No single copy spends more, whatever a follow says."""
    max_follower_daily_usdc: Decimal | None = Field(default=None, gt=0)
    """What all follows of one follower may spend in any 24 hours together, beside the cap of
    each follow; without it, only those caps count."""
    max_market_daily_usdc: Decimal | None = Field(default=None, gt=0)
    """What all followers together may spend on one token in any 24 hours; without it, nothing
    is counted. The count begins with the first entry after it is set."""
    max_global_daily_usdc: Decimal | None = Field(default=None, gt=0)
    """What all followers together may spend in any 24 hours; without it, nothing is counted. The
    count begins with the first entry after it is set, and is one row that the commit of every entry
    locks: it costs throughput."""
    max_open_positions: int | None = Field(default=None, gt=0)
    """Tokens that a follower may hold at once by his copies; remainders below a tenth of a share do
    not count. A token of a market that has ended counts until a copy of the follow in it is refused
    as ``no_market``. Further entries into tokens that he holds pass. Without it, there is no
    limit."""
    max_entries_per_minute: int | None = Field(default=None, gt=0)
    """Entries of one follower that are approved within any 60 s. A further one is delayed until
    there is room, or refused where it would be too old by then. Without it, there is no limit."""
    max_spread_bps: Decimal | None = Field(default=None, gt=0)
    """An entry is refused where the best bid and ask are farther apart, in basis points of their
    middle (20000: nobody bids). A price that comes from no book has no spread and is not judged by
    it. Without it, no entry is."""
    min_entry_price: Decimal = Field(default=Decimal(0), ge=0, le=1)
    """An entry is refused where the worst price that it would reach is lower."""
    max_entry_price: Decimal = Field(default=Decimal(1), ge=0, le=1)
    """An entry is refused where the worst price that it would reach is higher."""
    max_clock_skew: timedelta = Field(default=timedelta(seconds=5), ge=timedelta(0))
    """An entry is refused where the leader's trade is dated later than now by more."""
    allowed_followers: Addresses = None
    """Proxies, separated by commas: entries of other followers are refused, and their exits go on.
    Not set: all followers."""
    allowed_leaders: Addresses = None
    """Leaders, separated by commas: entries after other leaders are refused, and exits go on. Not
    set: all leaders."""
    allowed_tokens: Tokens = None
    """Token ids, separated by commas: entries into others are refused, and exits go on. Not set:
    all tokens."""
    sell_own_shares: bool = False
    """Whether exits may also sell shares that the follower bought himself."""
    exit_retry_delay: timedelta = Field(default=timedelta(seconds=5), gt=timedelta(0))
    """How long after an attempt an exit with shares left is attempted again; an exit that is older
    waits as long as its age, up to a minute."""
    exit_poll_interval: timedelta = Field(default=timedelta(milliseconds=500), gt=timedelta(0))
    """How often the database is asked for exits whose next attempt is due, and for delayed entries
    that are."""
    reconcile_interval: timedelta = Field(default=timedelta(seconds=30), gt=timedelta(0))
    """How often the holdings of leaders are read from the chain and compared with what their known
    trades explain."""
    reconcile_after: timedelta = Field(default=timedelta(seconds=60), ge=timedelta(0))
    """How long a leader must have held less than expected before it is acted on: his sale may still
    be on its way through the feeds."""
    data_url: HttpUrl | None = Field(default=None, validation_alias="DATA_URL")
    """The Data API. It says which tokens the leaders of follows with `--entries mirror` hold;
    without it, these follows enter by trades alone, and an error is logged."""
    max_balance_age: timedelta = timedelta(seconds=15)
    """An older balance in the cache is not used."""
    max_accounts: int = Field(default=5000, gt=0)
    """Proxies whose balances are cached; the least recently used is evicted first."""

    @model_validator(mode="after")
    def _require_longer_exit_age(self) -> Self:
        if self.max_exit_age < self.max_entry_age:
            raise ValueError(
                "PREFLIGHT_MAX_EXIT_AGE must not be shorter than PREFLIGHT_MAX_ENTRY_AGE: "
                "an exit is worth copying for longer"
            )
        if self.max_exit_age >= KEPT_FOR:
            raise ValueError(
                f"PREFLIGHT_MAX_EXIT_AGE must be shorter than {KEPT_FOR.days} days: the rows of "
                "older copies may be pruned"
            )
        return self

    @model_validator(mode="after")
    def _require_price_band(self) -> Self:
        if self.min_entry_price > self.max_entry_price:
            raise ValueError(
                "PREFLIGHT_MIN_ENTRY_PRICE must not be above PREFLIGHT_MAX_ENTRY_PRICE: "
                "no entry would pass"
            )
        return self
