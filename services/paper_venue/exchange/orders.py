"""What is traded, and what does an order ask for?"""

from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum, StrEnum

from shared.chain.addresses import EXCHANGE_V2, EXCHANGE_V3, NEG_RISK_EXCHANGE_V2
from shared.chain.orders import SignedOrder

PRICE_ONE = 10_000
"""Prices are integers of 1/10,000 USDC per share: the finest tick that the venue knows."""

FILL_TOLERANCE = 1_000
"""Base units (a thousandth of a share or USDC) that count as nothing left: floor arithmetic cannot
always fill to the last unit."""


class Side(IntEnum):
    BUY = 0
    SELL = 1


class MarketVersion(StrEnum):
    """Which protocol a market lives by: v1 is ConditionalTokens and Exchange V2, v2 is
    PositionManager and Exchange V3.
    """

    V1 = "v1"
    V2 = "v2"


def exchange_of(version: MarketVersion, *, neg_risk: bool) -> str:
    """The contract that settles such markets; v1 has one of its own for neg-risk, v2 has one for
    all.
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
    """A binary market: outcome 0 is YES, outcome 1 is NO. Amounts in base units, the tick in
    1/10,000 USDC.
    """

    id: str
    condition_id: str
    question_id: str
    token_ids: tuple[str, str]
    outcomes: tuple[str, str] = ("Yes", "No")
    question: str = ""
    slug: str = ""
    event_slug: str = ""
    tick: int = 100
    min_shares: int = 5_000_000
    min_marketable: int = 1_000_000
    fee_rate: Decimal = Decimal("0.04")
    version: MarketVersion = MarketVersion.V1
    neg_risk: bool = False
    """One of an event's outcomes of which exactly one comes true; v1 has an exchange of its own for
    them."""
    taker_delay_ms: int = 0
    """How long a marketable order is held, and answered ``delayed``, before it matches."""

    @property
    def exchange(self) -> str:
        """The contract that settles it, and under whose domain its orders are signed."""
        return exchange_of(self.version, neg_risk=self.neg_risk)

    def outcome_index(self, token_id: str) -> int:
        return self.token_ids.index(token_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a signed order asks for: give ``maker_amount``, get ``taker_amount`` (base units; a
    buyer gives USDC, a seller shares).
    """

    id: str
    """The order's hash under the exchange's EIP-712 domain."""
    owner: str
    """The API key it came by."""
    maker: str
    """The wallet whose money and shares move."""
    market: Market
    token_id: str
    side: Side
    kind: OrderKind
    maker_amount: int
    taker_amount: int
    placed_at_ms: int
    signed: SignedOrder
    """As it came: what the exchange contract is given."""
    expiration: int = 0
    """Epoch seconds at which a GTD order leaves the book; 0: never. It travels beside the
    signature, not under it."""

    @property
    def shares(self) -> int:
        return self.taker_amount if self.side is Side.BUY else self.maker_amount

    @property
    def collateral(self) -> int:
        return self.maker_amount if self.side is Side.BUY else self.taker_amount

    @property
    def price(self) -> int:
        """Per share, to the nearest 1/10,000 USDC."""
        return (2 * self.collateral * PRICE_ONE + self.shares) // (2 * self.shares)

    @property
    def outcome_index(self) -> int:
        return self.market.outcome_index(self.token_id)

    @property
    def outcome(self) -> str:
        return self.market.outcomes[self.outcome_index]

    @property
    def is_bid(self) -> bool:
        """Whether it stands on the buying side of the unified book: buying YES and selling NO are
        the same wish.
        """
        return (self.side is Side.BUY) == (self.outcome_index == 0)

    def yes_price(self) -> int:
        return self.price if self.outcome_index == 0 else PRICE_ONE - self.price

    def accepts(self, price: int) -> bool:
        """Whether ``price`` (per share of its own token) is at least as good as its limit; compared
        exactly, without rounding.
        """
        if self.side is Side.BUY:
            return self.maker_amount * PRICE_ONE >= price * self.taker_amount
        return price * self.maker_amount >= self.taker_amount * PRICE_ONE


def is_dust(shares: int, price: int) -> bool:
    """Whether so little counts as nothing left: a few base units, or worth less than one on either
    side of a match.
    """
    return shares <= FILL_TOLERANCE or shares * min(price, PRICE_ONE - price) < PRICE_ONE


def condition_key(condition_id: str) -> str:
    """One spelling for a condition id: 32 bytes; the 31 that a v2 market also goes by are padded."""
    return condition_id.lower().ljust(66, "0")
