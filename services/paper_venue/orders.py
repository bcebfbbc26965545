"""What is traded, and what does an order ask for?"""

from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum, StrEnum

from shared.chain.orders import SignedOrder

PRICE_ONE = 10_000
"""Prices are integers of 1/10,000 USDC per share: the finest tick that the venue knows."""

DUST = 1_000
"""Base units (a thousandth of a share or USDC) that count as nothing left: floor arithmetic cannot always fill to the last unit."""


class Side(IntEnum):
    BUY = 0
    SELL = 1


class OrderKind(StrEnum):
    GTC = "GTC"
    FOK = "FOK"
    FAK = "FAK"

    @property
    def may_rest(self) -> bool:
        return self is OrderKind.GTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """A binary market: outcome 0 is YES, outcome 1 is NO. Amounts in base units, the tick in 1/10,000 USDC."""

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

    def outcome_index(self, token_id: str) -> int:
        return self.token_ids.index(token_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a signed order asks for: give ``maker_amount``, get ``taker_amount`` (base units; a buyer gives USDC, a seller shares)."""

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
        """Whether it stands on the buying side of the unified book: buying YES and selling NO are the same wish."""
        return (self.side is Side.BUY) == (self.outcome_index == 0)

    def yes_price(self) -> int:
        return self.price if self.outcome_index == 0 else PRICE_ONE - self.price

    def accepts(self, price: int) -> bool:
        """Whether ``price`` (per share of its own token) is at least as good as its limit; compared exactly, without rounding."""
        if self.side is Side.BUY:
            return self.maker_amount * PRICE_ONE >= price * self.taker_amount
        return price * self.maker_amount >= self.taker_amount * PRICE_ONE
