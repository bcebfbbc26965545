"""Markets, and the orders that are placed in them."""

from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum, StrEnum

from shared.chain.addresses import EXCHANGE_V2, EXCHANGE_V3, NEG_RISK_EXCHANGE_V2
from shared.chain.orders import SignedOrder

PRICE_ONE = 10_000
"""Prices are integers of 1/10,000 USDC per share: the venue's finest tick."""

FILL_TOLERANCE = 1_000
"""Base units (a thousandth of a share or USDC) up to which a remainder counts as filled: floor
arithmetic cannot always fill to the last unit."""


class Side(IntEnum):
    BUY = 0
    SELL = 1


class MarketVersion(StrEnum):
    """A market's protocol: v1 is ConditionalTokens and Exchange V2, v2 is PositionManager and
    Exchange V3.
    """

    V1 = "v1"
    V2 = "v2"


def exchange_for(version: MarketVersion, *, neg_risk: bool) -> str:
    """The address of the exchange contract for such markets; in v1, neg-risk markets have their
    own.
    """
    if version is MarketVersion.V2:
        return EXCHANGE_V3
    return NEG_RISK_EXCHANGE_V2 if neg_risk else EXCHANGE_V2


class OrderKind(StrEnum):
    GTC = "GTC"
    GTD = "GTD"
    FOK = "FOK"
    FAK = "FAK"

    @property
    def may_rest(self) -> bool:
        return self in (OrderKind.GTC, OrderKind.GTD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """A binary market: outcome 0 is YES, outcome 1 is NO.

    Amounts in base units, the tick in 1/10,000 USDC.
    """

    id: str
    condition_id: str
    question_id: str
    token_ids: tuple[str, str]
    outcomes: tuple[str, str] = ("Yes", "No")
    question: str = ""
    slug: str = ""
    event_slug: str = ""
    tags: tuple[str, ...] = ()
    """Slugs; Gamma shows them."""
    tick: int = 100
    min_shares: int = 5_000_000
    min_marketable: int = 1_000_000
    fee_rate: Decimal = Decimal("0.04")
    version: MarketVersion = MarketVersion.V1
    neg_risk: bool = False
    """Whether exactly one of the event's markets resolves to YES; v1 has its own exchange for
    these."""
    taker_delay_ms: int = 0
    """How long a marketable order is held before it matches; its reply says ``delayed``."""

    @property
    def exchange(self) -> str:
        """The contract that settles its matches; orders are signed under its EIP-712 domain."""
        return exchange_for(self.version, neg_risk=self.neg_risk)

    def outcome_index(self, token_id: str) -> int:
        return self.token_ids.index(token_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A signed order: it gives ``maker_amount`` and gets ``taker_amount`` (base units; a buyer
    gives USDC, a seller shares).
    """

    id: str
    """The order's hash under the exchange's EIP-712 domain."""
    owner: str
    """The API key that posted it."""
    maker: str
    """The wallet whose USDC and shares move."""
    market: Market
    token_id: str
    side: Side
    kind: OrderKind
    maker_amount: int
    taker_amount: int
    placed_at_ms: int
    signed: SignedOrder
    """As it was posted; passed to the exchange contract."""
    expiration: int = 0
    """Epoch seconds at which a GTD order expires; 0: never. It is not part of the signed data."""

    @property
    def shares(self) -> int:
        return self.taker_amount if self.side is Side.BUY else self.maker_amount

    @property
    def collateral(self) -> int:
        return self.maker_amount if self.side is Side.BUY else self.taker_amount

    @property
    def price(self) -> int:
        """USDC per share, rounded to the nearest 1/10,000."""
        return (2 * self.collateral * PRICE_ONE + self.shares) // (2 * self.shares)

    @property
    def outcome_index(self) -> int:
        return self.market.outcome_index(self.token_id)

    @property
    def outcome(self) -> str:
        return self.market.outcomes[self.outcome_index]

    @property
    def is_bid(self) -> bool:
        """Whether it is a bid in the unified book: buying YES is the same as selling NO."""
        return (self.side is Side.BUY) == (self.outcome_index == 0)

    def yes_price(self) -> int:
        return self.price if self.outcome_index == 0 else PRICE_ONE - self.price

    def accepts(self, price: int) -> bool:
        """Whether ``price`` (per share of its own token) is within its limit; compared exactly,
        without rounding.
        """
        if self.side is Side.BUY:
            return self.maker_amount * PRICE_ONE >= price * self.taker_amount
        return price * self.maker_amount >= self.taker_amount * PRICE_ONE


def is_dust(shares: int, price: int) -> bool:
    """Whether a remainder counts as nothing: at most ``FILL_TOLERANCE`` base units, or worth
    less than one base unit on either side of a match.
    """
    return shares <= FILL_TOLERANCE or shares * min(price, PRICE_ONE - price) < PRICE_ONE


def condition_key(condition_id: str) -> str:
    """A condition id in lower case with 32 bytes; the 31-byte form of a v2 market is padded."""
    return condition_id.lower().ljust(66, "0")
