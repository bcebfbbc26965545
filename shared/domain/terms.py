"""The parts of a follow's terms: what starts and ends its copies, tiers of size, and filters."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

MAX_TERM_USDC = 10**18
"""The largest amount of a term, in micro-USDC: more than anybody has. Here as with the others, a
larger one would end in an arithmetic error, long after it was accepted."""
MIN_PERCENT, MAX_PERCENT = Decimal("0.000000001"), Decimal(10**9)
MAX_SPREAD_BPS = Decimal(10**9)
MAX_SECONDS = 10**11
"""Some 3,000 years."""


class EntryMode(StrEnum):
    """What a follow buys."""

    TRADES = "trades"
    """What its leader buys from now on."""
    MIRROR = "mirror"
    """That, and what its leader holds more than his known trades explain: at the start and after
    gaps."""
    NONE = "none"
    """Nothing: only exits are copied."""


class ExitMode(StrEnum):
    """What a follow sells when its leader sells."""

    PROPORTIONAL = "proportional"
    """The proportion that the leader sold of what he held."""
    ALL = "all"
    """Everything that the follow holds, at the leader's first sale."""
    NONE = "none"
    """Nothing: the follower exits himself."""


class EndMode(StrEnum):
    """What a follow does with the shares that it holds when it ends."""

    KEEP = "keep"
    """It keeps them: the follower exits himself."""
    CLOSE_OUT = "close_out"
    """It sells them all."""
    FOLLOW = "follow"
    """It copies the leader's exits until it holds nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """How much is copied of a leader's trade of at least ``from_usdc`` micro-USDC: a percentage or
    a fixed amount in micro-USDC.
    """

    from_usdc: int
    percent: Decimal | None = None
    fixed_usdc: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.from_usdc <= MAX_TERM_USDC:
            raise ValueError(
                f"a tier begins at 0 or above, and at most at {MAX_TERM_USDC}, "
                f"not at {self.from_usdc} micro-USDC"
            )
        if (self.percent is None) == (self.fixed_usdc is None):
            raise ValueError("a tier copies a percentage or a fixed amount: give one")
        require_percent(self.percent, name="a tier's percentage")
        require_fixed(self.fixed_usdc, name="a tier's fixed amount")

    def copy_usdc(self, leader_usdc: int) -> int:
        """Return the micro-USDC to copy of a leader's trade of ``leader_usdc`` micro-USDC."""
        return copy_amount(leader_usdc, percent=self.percent, fixed_usdc=self.fixed_usdc)


def require_percent(percent: Decimal | None, *, name: str) -> None:
    """Check one that is given. Raises: ValueError."""
    if percent is not None and not (percent.is_finite() and percent > 0):
        raise ValueError(f"{name} must be above 0, not {percent}")
    if percent is not None and not MIN_PERCENT <= percent <= MAX_PERCENT:
        raise ValueError(
            f"{name} must be at least {MIN_PERCENT:f} and at most {MAX_PERCENT}, not {percent}"
        )


def require_fixed(usdc: int | None, *, name: str) -> None:
    """Check one that is given, in micro-USDC. Raises: ValueError."""
    if usdc is not None and not 0 < usdc <= MAX_TERM_USDC:
        raise ValueError(
            f"{name} must be above 0 and at most {MAX_TERM_USDC} micro-USDC, not {usdc}"
        )


def copy_amount(leader_usdc: int, *, percent: Decimal | None, fixed_usdc: int | None) -> int:
    """Return the fixed amount, or the percentage of ``leader_usdc`` rounded down, in micro-USDC.

    Raises: ValueError where neither is given.
    """
    if fixed_usdc is not None:
        return fixed_usdc
    if percent is None:
        raise ValueError("there is neither a percentage nor a fixed amount to size a copy by")
    return int(leader_usdc * percent / 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equities:
    """What a leader's and a follower's wallet are worth, in micro-USDC: pUSD and positions. None:
    not known.
    """

    leader_usdc: int | None
    follower_usdc: int | None

    @property
    def are_known(self) -> bool:
        return self.leader_usdc is not None and self.follower_usdc is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityRange:
    """The lowest and the highest that a wallet's equity was read as recently, in micro-USDC."""

    lowest_usdc: int
    highest_usdc: int


def copy_share_of_equity(leader_usdc: int, *, percent: Decimal, equities: Equities | None) -> int:
    """Return ``percent`` of the share that ``leader_usdc`` is of the leader's equity, of the
    follower's equity, in micro-USDC and rounded down.

    The leader's equity counts as at least the trade: he owned what he traded. So the share is at
    most all. Raises: ValueError where an equity is not known.
    """
    if equities is None or equities.leader_usdc is None or equities.follower_usdc is None:
        raise ValueError("a share of the equity cannot be computed from an equity that is unknown")
    leader_equity = max(equities.leader_usdc, leader_usdc)
    if not leader_equity:
        return 0
    numerator, denominator = percent.as_integer_ratio()
    return (leader_usdc * equities.follower_usdc * numerator) // (leader_equity * 100 * denominator)


def copy_by_tiers(leader_usdc: int, tiers: tuple[Tier, ...]) -> int:
    """Return the micro-USDC to copy of a leader's trade of ``leader_usdc`` micro-USDC.

    It is what the last tier says that the trade reaches, and never less than of a smaller trade: so
    it does not depend on the rows that report the trade.
    """
    reached = [tier for tier in tiers if tier.from_usdc <= leader_usdc]
    ends = [*(tier.from_usdc for tier in reached[1:]), leader_usdc]
    return max(tier.copy_usdc(end) for tier, end in zip(reached, ends, strict=True))


def require_tiers(tiers: tuple[Tier, ...]) -> None:
    """Check that they begin at different sizes, the first at 0, and that each decides about some
    trades. Raises: ValueError.
    """
    starts = [tier.from_usdc for tier in tiers]
    if starts != sorted(set(starts)):
        raise ValueError("tiers must begin at different sizes, the smallest first")
    if starts[0] != 0:
        raise ValueError("the first tier must begin at 0: else smaller trades have no tier")
    for number, tier in enumerate(tiers[1:], start=1):
        below = copy_by_tiers(tier.from_usdc - 1, tiers[:number])
        end = tiers[number + 1].from_usdc if number + 1 < len(tiers) else None
        if not _exceeds(tier, below, end=end):
            raise ValueError(
                f"the tier from {tier.from_usdc} micro-USDC would never copy more than the tier "
                "below it, and a larger trade is never copied with less: leave it out, or lower "
                "the maximum"
            )


def _exceeds(tier: Tier, usdc: int, *, end: int | None) -> bool:
    """Whether the tier ever copies more, of trades up to ``end`` micro-USDC; None: of any size."""
    if tier.fixed_usdc is not None:
        return tier.fixed_usdc > usdc
    return end is None or tier.copy_usdc(end) > usdc


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which of a leader's entries a follow copies. Exits pass: what was bought can be sold."""

    min_leader_usdc: int = 0
    """Of the leader's trade, in micro-USDC."""
    min_price: Decimal = Decimal(0)
    max_price: Decimal = Decimal(1)
    max_spread_bps: Decimal | None = None
    """None: any spread."""
    min_liquidity_usdc: int | None = None
    """Of the market, as the venue computes it, in micro-USDC; None: any liquidity."""
    min_seconds_to_end: int | None = None
    """Until the market's announced end; None: any time."""
    max_seconds_to_end: int | None = None
    tags: frozenset[str] = frozenset()
    """Only markets with one of them; empty: any market."""
    excluded_tags: frozenset[str] = frozenset()
    markets: frozenset[str] = frozenset()
    """Only markets with one of these condition ids; empty: any market."""
    excluded_markets: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not 0 <= self.min_price <= self.max_price <= 1:
            raise ValueError(
                f"the lowest price ({self.min_price}) must be between 0 and the highest "
                f"({self.max_price}), and that at most 1"
            )
        for name, largest in (
            ("min_leader_usdc", MAX_TERM_USDC),
            ("max_spread_bps", MAX_SPREAD_BPS),
            ("min_liquidity_usdc", MAX_TERM_USDC),
            ("min_seconds_to_end", MAX_SECONDS),
            ("max_seconds_to_end", MAX_SECONDS),
        ):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= largest:
                raise ValueError(f"{name} must not be below 0 or above {largest}, but is {value}")
        shortest, longest = self.min_seconds_to_end, self.max_seconds_to_end
        if shortest is not None and longest is not None and shortest > longest:
            raise ValueError("the shortest time to a market's end must not be above the longest")
        if self.tags & self.excluded_tags or self.markets & self.excluded_markets:
            raise ValueError("what is required cannot be excluded as well")

    @property
    def need_market_details(self) -> bool:
        """Whether they are judged by what only the venue's market catalogue says."""
        return bool(
            self.min_liquidity_usdc is not None
            or self.min_seconds_to_end is not None
            or self.max_seconds_to_end is not None
            or self.tags
            or self.excluded_tags
            or self.markets
            or self.excluded_markets
        )


NO_FILTERS = Filters()
