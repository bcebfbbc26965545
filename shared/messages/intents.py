"""The life of a copy before it becomes an order."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, Field

from shared.domain.money import Side
from shared.messages.base import (
    Address,
    Amount,
    ExactDecimal,
    Fact,
    Message,
    Micros,
    PositiveMicros,
    Price,
)


class Intent(Fact):
    """Copy this part of a leader's trade for this follower. It travels whole with every message
    about it.
    """

    intent_id: str
    proxy: Address
    leader: Address
    follow_id: str
    controls_version: int
    """Of the controls that it was sized by."""
    transaction_hash: str
    token_id: str
    side: Side
    leader_price: Price
    leader_shares: PositiveMicros
    """Of the part that is copied."""
    usdc: Amount
    """To spend on a BUY, or the worth of a SELL at the leader's price, in micro-USDC."""
    shares: Amount
    """To sell on a SELL, or what a BUY would give at the leader's price, in micro-shares."""
    filled_at: AwareDatetime
    seen_at: AwareDatetime
    """When we first saw the fill: latency is counted from here."""
    intended_at: AwareDatetime
    title: str = ""
    outcome: str = ""
    continues: str = ""
    """The intent whose exit was filled in part: this is the rest of it. Empty: the part of a trade
    as the leader made it."""


class IntentMessage(Message):
    """A message on the path of a follower's money, about one intent."""

    intent: Intent

    @property
    def intent_id(self) -> str:
        return self.intent.intent_id

    def key(self) -> bytes:
        return self.intent.proxy.encode()


class CopyIntended(IntentMessage):
    """A leader's trade matched a follow and was sized by its terms; or what such an exit left over
    goes around again.
    """

    topic: ClassVar[str] = "copy-intents"


class PriceLevel(Fact):
    price: ExactDecimal
    shares: PositiveMicros


class QuoteSource(StrEnum):
    SOCKET = "socket"
    """A book kept by this instance from the market channel."""
    SHARED = "shared"
    """A book that another instance keeps."""
    REST = "rest"


class Quote(Fact):
    """What the book would give for the intent."""

    kind: Literal["quote"] = "quote"
    source: QuoteSource
    levels: Annotated[tuple[PriceLevel, ...], Field(min_length=1)]
    """The levels that the walk needed, best first: what the decision was priced on."""
    shares: PositiveMicros
    usdc: Micros
    """Micro-USDC for ``shares``, fees not counted."""
    complete: bool
    """False where the book is too thin for all of the intent."""
    fetched_at: AwareDatetime
    """When we had the book; a quote's age is counted from here."""
    tick_size: Price
    min_order_shares: Micros
    """The venue's smallest resting size."""
    neg_risk: bool
    fee_rate: ExactDecimal
    """Taker fee = shares x rate x price x (1 - price), in USDC."""

    @property
    def best(self) -> ExactDecimal:
        return self.levels[0].price

    @property
    def worst(self) -> ExactDecimal:
        return self.levels[-1].price


class Missing(StrEnum):
    """Why there is no quote."""

    EMPTY_BOOK = "empty_book"
    NO_MARKET = "no_market"
    """The venue knows no order book for the token: closed, resolved or not yet open."""
    UNAVAILABLE = "unavailable"
    """The venue did not answer in time."""


class NoQuote(Fact):
    kind: Literal["none"] = "none"
    missing: Missing


class IntentQuoted(IntentMessage):
    """The book was walked for an intent, or could not be: preflight judges either way."""

    topic: ClassVar[str] = "quoted-intents"
    quote: Annotated[Quote | NoQuote, Field(discriminator="kind")]


class Refusal(StrEnum):
    """Why a copy was not made: the closed list. Also the label of the metric."""

    HALTED = "halted"
    REDUCING = "reducing"
    NOT_FOLLOWED = "not_followed"
    """The follow ended between the trade and its judgement."""
    TRADE_TOO_OLD = "trade_too_old"
    EMPTY_BOOK = "empty_book"
    NO_MARKET = "no_market"
    QUOTE_UNAVAILABLE = "quote_unavailable"
    QUOTE_TOO_OLD = "quote_too_old"
    BOOK_TOO_THIN = "book_too_thin"
    SLIPPAGE_TOO_HIGH = "slippage_too_high"
    BELOW_MINIMUM = "below_minimum"
    ABOVE_TRADE_MAXIMUM = "above_trade_maximum"
    DAILY_CAP_REACHED = "daily_cap_reached"
    BALANCE_TOO_LOW = "balance_too_low"
    ALLOWANCE_TOO_LOW = "allowance_too_low"
    NO_POSITION = "no_position"
    """Nothing to sell."""


class VerdictFacts(Fact):
    """What a verdict was reached on. Amounts in micro-USDC and micro-shares."""

    judged_at: AwareDatetime
    controls_version: int
    mode: str
    max_slippage_bps: ExactDecimal
    max_trade_usdc: Micros
    daily_cap_usdc: Micros
    spent_today_usdc: Micros
    """Reserved or spent of the cap before this intent."""
    balance_usdc: Micros | None
    """On the chain; None where it was refused before the balance was asked for."""
    allowance_usdc: Micros | None
    balance_shares: Micros | None
    reserved_usdc: Micros
    """Promised to copies that the balance does not show yet."""
    reserved_shares: Micros
    balance_at: AwareDatetime | None


class OrderType(StrEnum):
    FOK = "FOK"
    """All at once or nothing: entries."""
    FAK = "FAK"
    """What can be had at once: exits."""


class IntentApproved(IntentMessage):
    """May be executed, and by which terms. The only thing that the executor accepts."""

    topic: ClassVar[str] = "approved-intents"
    order_type: OrderType
    usdc: Micros
    """A BUY spends this much, fee not counted, in whole cents of micro-USDC; 0 on a SELL."""
    shares: Micros
    """A SELL gives this much, in hundredths of a share; 0 on a BUY."""
    limit_price: ExactDecimal
    """The worst price that the order accepts, on the market's grid."""
    expires_at: AwareDatetime
    """Nothing is sent for it after this moment."""
    quote: Quote
    facts: VerdictFacts


class IntentRefused(IntentMessage):
    """Will not be executed, and why: ``value`` broke ``threshold`` by ``margin``."""

    topic: ClassVar[str] = "copy-outcomes"
    reason: Refusal
    value: ExactDecimal
    threshold: ExactDecimal
    facts: VerdictFacts

    @property
    def margin(self) -> ExactDecimal:
        return abs(self.value - self.threshold)
