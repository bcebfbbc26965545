"""The facts that a verdict is based on."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from services.preflight.decisions.exits import Exit, FollowPosition
from shared.domain.follows import Follow, Mode
from shared.domain.money import CENT, Side, cost_ceiling, round_down
from shared.messages.intents import Intent, IntentQuoted, NoQuote, Quote

ENTRIES_WINDOW = timedelta(minutes=1)
"""Within which a follower's entries are limited, back from the verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The operator's limits for every copy. Amounts in micro-USDC."""

    max_quote_age: timedelta
    max_last_book_age: timedelta
    """Of a quote from the last good book, where no current one could be had."""
    max_bound_age: timedelta
    """Of what bounds a fallback price."""
    max_entry_age: timedelta
    """Since the leader's fill: a later BUY is a stale copy."""
    max_exit_age: timedelta
    """An exit is worth copying for longer: not to exit is a risk of its own."""
    max_trade_usdc: int
    max_follower_daily_usdc: int | None = None
    """What all follows of a proxy may spend in any 24 hours together; None: no such cap."""
    max_market_daily_usdc: int | None = None
    """What all followers may spend on a token in any 24 hours; None: no such cap, nothing is
    counted."""
    max_global_daily_usdc: int | None = None
    """What all followers may spend in any 24 hours; None: no such cap, nothing is counted."""
    max_open_positions: int | None = None
    """Of a follower; None: any number."""
    max_entries_per_minute: int | None = None
    """Of a follower; None: any number."""
    max_spread_bps: Decimal | None = None
    """None: any spread."""
    min_entry_price: Decimal = Decimal(0)
    max_entry_price: Decimal = Decimal(1)
    max_clock_skew: timedelta = timedelta(seconds=5)
    """How much later than now an entry's trade may be dated."""
    allowed_followers: frozenset[str] | None = None
    """Proxies whose entries are copied; None: of all."""
    allowed_leaders: frozenset[str] | None = None
    allowed_tokens: frozenset[str] | None = None
    sell_own_shares: bool = False
    """Whether exits may sell shares that no follow bought."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What a proxy has on the chain, as far as the intent needs it. Micro-USDC and micro-shares."""

    usdc: int
    allowance: int
    shares: int
    shares_approved: bool
    fetched_at: datetime
    cached: bool
    """Whether it comes from the cache, and not from a request of this call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitments:
    """What a proxy's other copies take of its funds. Micro-USDC."""

    usdc: int
    """Reserved by copies that are not settled, or were settled after the balance was read: the
    balance may not show them."""
    spent_today: int
    """What the follow's approved copies of the last 24 hours take of its daily cap."""
    follower_spent_today: int
    """The same, of all follows of the proxy."""
    market_spent_today: int | None = None
    """The same, of all followers in the token; None: not capped, or an exit."""
    global_spent_today: int | None = None
    """The same, of all followers; None: not capped, or an exit."""
    open_tokens: frozenset[str] | None = None
    """Tokens that the follower holds by his copies or is buying; None: not limited, or an exit."""
    recent_entries: int | None = None
    """The follower's approved entries of the last minute, and those that were delayed before this
    one; None: not limited, or an exit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Funds:
    """What a proxy has on the chain, and what of it is reserved. Micro-USDC and micro-shares."""

    usdc: int
    allowance: int
    shares: int
    shares_approved: bool
    fetched_at: datetime
    reserved_usdc: int
    """By copies that the balance on the chain may not show yet."""
    spent_today: int
    """What the follow's approved copies of the last 24 hours take of its daily cap."""
    follower_spent_today: int
    """What the proxy's approved copies of the last 24 hours take, of all its follows."""
    market_spent_today: int | None = None
    """What all followers' approved copies of the last 24 hours take in the token; None: not
    capped."""
    global_spent_today: int | None = None
    """What all followers' approved copies of the last 24 hours take; None: not capped."""
    open_tokens: frozenset[str] | None = None
    """Tokens that the follower holds by his copies or is buying; None: not limited."""
    recent_entries: int | None = None
    """The follower's approved entries of the last minute, and those that were delayed before this
    one; None: not limited."""

    @property
    def spendable(self) -> int:
        return self.usdc - self.reserved_usdc


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightFacts:
    """Everything that a verdict is based on."""

    quoted: IntentQuoted
    follow: Follow | None
    mode: Mode
    controls_version: int
    limits: Limits
    now: datetime
    funds: Funds | None = None
    """None until the checks that need no funds have passed."""
    exit: Exit | None = None
    """None for an entry."""
    position: FollowPosition | None = None
    """None for an entry, unless the follow mirrors its leader."""

    @property
    def side(self) -> Side:
        return self.quoted.intent.side

    @property
    def usdc(self) -> int:
        """What a BUY spends, in whole cents: the venue accepts no finer amounts."""
        return round_down(self.quoted.intent.usdc, CENT)

    @property
    def quote(self) -> Quote:
        if isinstance(self.quoted.quote, NoQuote):
            raise TypeError("there is no quote: _check_quote_exists has to come first")
        return self.quoted.quote

    @property
    def cost(self) -> int:
        """What a BUY can cost at most: the venue takes its fee on top of what is spent."""
        return self.usdc + max_fee(self.usdc, self.quote.fee_rate)


def build_funds(balance: Balance, commitments: Commitments) -> Funds:
    return Funds(
        usdc=balance.usdc,
        allowance=balance.allowance,
        shares=balance.shares,
        shares_approved=balance.shares_approved,
        fetched_at=balance.fetched_at,
        reserved_usdc=commitments.usdc,
        spent_today=commitments.spent_today,
        follower_spent_today=commitments.follower_spent_today,
        market_spent_today=commitments.market_spent_today,
        global_spent_today=commitments.global_spent_today,
        open_tokens=commitments.open_tokens,
        recent_entries=commitments.recent_entries,
    )


def max_fee(usdc: int, rate: Decimal) -> int:
    """The highest fee that spending ``usdc`` can cause, in micro-USDC.

    fee = shares x rate x p x (1 - p) = usdc x rate x (1 - p): below usdc x rate at any price.
    """
    return cost_ceiling(usdc, rate)


def expires_at(intent: Intent, limits: Limits) -> datetime:
    """From then on the intent is too old."""
    buys = intent.side is Side.BUY
    return intent.filled_at + (limits.max_entry_age if buys else limits.max_exit_age)
