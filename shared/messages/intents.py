"""An intent, from its creation to its verdict."""

from decimal import Decimal
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
from shared.messages.filters import FollowFilters, MarketDetails
from shared.messages.refusals import Refusal


class Missing(StrEnum):
    """Why there is no quote, or no complementary token."""

    EMPTY_BOOK = "empty_book"
    NO_MARKET = "no_market"
    """The venue has no order book for the token: it is closed, resolved or not yet open."""
    UNAVAILABLE = "unavailable"
    """The venue did not answer in time, or with nothing that is a price."""


class CopyCause(StrEnum):
    """Why a copy was intended."""

    TRADE = "trade"
    """The leader traded."""
    RECONCILED = "reconciled"
    """The leader holds less than his known trades explain."""
    LEADER_OUT = "leader_out"
    """The leader holds nothing, and the follow still does."""
    ENDED = "ended"
    """The follow ended, or is being closed out: it sells all that it holds."""
    MIRRORED = "mirrored"
    """The leader holds more than his known trades explain, and the follow mirrors him."""


class LeaderLevel(Fact):
    """What the chain showed of a leader's token where no trade is copied."""

    shares: Micros
    """Micro-shares that the leader held at the block."""
    block_number: int
    base_block_number: int
    """The block of the level that this one was compared with."""
    accounted_through: AwareDatetime | None = None
    """The leader's trades that were judged until then are taken into account; None: not known, as
    of messages of earlier releases."""


class Intent(Fact):
    """Copy this slice of a leader's trade for this follower.

    Every message about an intent contains all of it.
    """

    intent_id: str
    proxy: Address
    leader: Address
    follow_id: str
    controls_version: int
    """The version of the controls that it was sized by."""
    transaction_hash: str
    token_id: str
    side: Side
    leader_price: Price | None
    """Of the token that is copied: one less the leader's where that is the complementary one. None
    unless a trade is copied."""
    leader_shares: PositiveMicros
    """Of the slice that is copied, in micro-shares. Where no trade is copied: what the leader holds
    less than expected, or all that the follow holds where it sells everything."""
    leader_held_shares: Micros | None = None
    """What the leader held of the token right before he sold ``leader_shares``, in micro-shares: an
    exit sells the same proportion of what the follow holds. Where no trade is copied: what he was
    expected to hold. None on a BUY that copies a trade, and in messages from before it was kept."""
    usdc: Amount
    """To spend on a BUY, or the value of a SELL at the leader's price, in micro-USDC."""
    carried_usdc: Amount = 0
    """Of ``usdc``: what was below the venue's minimum in earlier trades of the leader and token. 0
    on a SELL."""
    sized_by_equity: bool = False
    """Whether the follow copies a share of the equity. Then the next two are what it was sized by,
    in micro-USDC; None: not known in time, ``usdc`` says nothing and the copy is refused."""
    leader_equity_usdc: Amount | None = None
    follower_equity_usdc: Amount | None = None
    shares: Amount
    """To sell on a SELL, or what a BUY would yield at the leader's price, in micro-shares."""
    filled_at: AwareDatetime
    seen_at: AwareDatetime
    """When a feed first delivered the fill: latency is measured from here."""
    intended_at: AwareDatetime
    title: str = ""
    outcome: str = ""
    continues: str = ""
    """The first intent of an exit, where this one is another attempt to sell what is left of it.
    Empty: this one copies a slice of the leader's trade."""
    cause: CopyCause = CopyCause.TRADE
    level: LeaderLevel | None = None
    """None where a trade is copied."""
    leader_usdc: Amount | None = None
    """Of a BUY: what the leader's trade is worth so far, this slice and those before it, in
    micro-USDC. None on a SELL, and in messages from before it was kept."""
    leader_token_id: str = ""
    """The leader's token, where the complementary one is copied. Empty: the same is."""
    complement_missing: Missing | None = None
    """Why the complementary token is not known; ``token_id`` is the leader's then. None: it is
    known, or none is needed."""
    needs_market_details: bool = False
    """Whether the follow's filters are judged by what only the venue's market catalogue says."""

    @property
    def is_of_trade(self) -> bool:
        """Whether a trade of the leader is copied."""
        return self.cause is CopyCause.TRADE

    @property
    def is_of_complement(self) -> bool:
        """Whether the complementary outcome is copied, also where it is not known."""
        return bool(self.leader_token_id)

    @property
    def traded_token_id(self) -> str:
        """The token that the leader traded."""
        return self.leader_token_id or self.token_id


class IntentMessage(Message):
    """A message about one intent, in the order of the follower's proxy."""

    intent: Intent

    @property
    def intent_id(self) -> str:
        return self.intent.intent_id

    def key(self) -> bytes:
        return self.intent.proxy.encode()


class CopyIntended(IntentMessage):
    """A leader's trade matched a follow, or an exit is attempted again."""

    topic: ClassVar[str] = "copy-intents"


class PriceLevel(Fact):
    price: ExactDecimal
    shares: PositiveMicros


class QuoteSource(StrEnum):
    SOCKET = "socket"
    """A book that this instance keeps from the market channel."""
    SHARED = "shared"
    """A book that another instance keeps."""
    REST = "rest"
    """A book that was fetched."""
    LAST_BOOK = "last_book"
    """No fresh book could be had: the last good one, within its own, longer limit."""
    MIDPOINT = "midpoint"
    """No book could be had: the middle between bid and ask, as the venue computes it."""
    LAST_TRADE = "last_trade"
    """No book could be had: the price of the token's last trade, which may be the leader's own."""
    LEADER = "leader"
    """Nothing could be had from the venue: the price of the leader's trade."""


SOURCES_TO_BOUND = frozenset({QuoteSource.LAST_TRADE, QuoteSource.LEADER})
"""Prices that may be the leader's own: compared with his alone, they could never be refused. They
need a bound."""


class Bound(Fact):
    """What a fallback price is compared with besides the leader's price: the last good book's best
    level, or the last midpoint.
    """

    price: Price
    seen_at: AwareDatetime


class Quote(Fact):
    """What the order book would give for the intent.

    A fallback price that comes from no book is one level with all that the intent takes.
    """

    kind: Literal["quote"] = "quote"
    source: QuoteSource
    levels: Annotated[tuple[PriceLevel, ...], Field(min_length=1)]
    """The levels that the intent would take, best first; the price is computed from them."""
    shares: PositiveMicros
    usdc: Micros
    """Micro-USDC for ``shares``, without fees."""
    complete: bool
    """False where the book is too thin for all of the intent."""
    fetched_at: AwareDatetime
    """When the book or price was fetched, or the leader traded; a quote's age is measured from
    here."""
    bound: Bound | None = None
    """None: a book, which needs none, or nothing good was seen within the limit."""
    opposite_best: ExactDecimal | None = None
    """The best price of the book's other side: with ``best`` it gives the spread. 0 where nobody
    bids, 1 where nobody asks. None: the price comes from no book, or from before it was kept."""
    tick_size: Price
    min_order_shares: Micros
    """The venue's minimum size of a resting order."""
    neg_risk: bool
    fee_rate: ExactDecimal
    """Taker fee = shares x rate x price x (1 - price), in USDC."""
    market: MarketDetails | None = None
    """None: the intent does not need them, or they could not be had."""

    @property
    def best(self) -> ExactDecimal:
        return self.levels[0].price

    @property
    def worst(self) -> ExactDecimal:
        return self.levels[-1].price


def reference_price(intent: Intent, quote: Quote) -> Decimal:
    """The price that the copy's own is compared with: the leader's.

    Where no trade is copied it is the middle between the book's best bid and ask, so that a book
    that is wide or has one side only is refused as slippage; of a price that comes from no book it
    is what bounds it, else the price itself.
    """
    if intent.leader_price is not None:
        return intent.leader_price
    if quote.opposite_best is not None:
        return (quote.best + quote.opposite_best) / 2
    return quote.best if quote.bound is None else quote.bound.price


class NoQuote(Fact):
    kind: Literal["none"] = "none"
    missing: Missing


class IntentQuoted(IntentMessage):
    """An intent got a quote, or the reason why there is none; preflight judges both."""

    topic: ClassVar[str] = "quoted-intents"
    quote: Annotated[Quote | NoQuote, Field(discriminator="kind")]


class VerdictFacts(Fact):
    """The facts that a verdict rests on. Amounts in micro-USDC and micro-shares."""

    judged_at: AwareDatetime
    controls_version: int
    mode: str
    max_slippage_bps: ExactDecimal
    max_trade_usdc: Micros
    daily_cap_usdc: Micros
    spent_today_usdc: Micros
    """Reserved or spent of the follow's daily cap in the last 24 hours, before this intent."""
    balance_usdc: Micros | None
    """On the chain. None: it was refused before the balance was fetched."""
    allowance_usdc: Micros | None
    balance_shares: Micros | None
    reserved_usdc: Micros
    """Reserved for copies that the balance does not show yet."""
    reserved_shares: Micros
    """Of an exit: what the follow's other exits have reserved."""
    balance_at: AwareDatetime | None
    follower_daily_cap_usdc: Micros | None = None
    """For all follows of the proxy; None: there is no such cap."""
    follower_spent_today_usdc: Micros = 0
    market_daily_cap_usdc: Micros | None = None
    """For all followers in the token; None: there is no such cap."""
    market_spent_today_usdc: Micros | None = None
    """None: not counted, because there is no such cap, or refused before."""
    global_daily_cap_usdc: Micros | None = None
    """For all followers in all tokens; None: there is no such cap."""
    global_spent_today_usdc: Micros | None = None
    """None: as for the market."""
    open_positions: int | None = None
    """Tokens that the follower holds or is buying, before this intent. None: not counted, because
    nothing limits them, or refused before."""
    max_open_positions: int | None = None
    """None: nothing limits them."""
    recent_entries: int | None = None
    """The follower's approved entries of the last minute, and those that were delayed before this
    intent. None: as for open positions."""
    max_entries_per_minute: int | None = None
    """None: nothing limits them."""
    held_shares: Micros = 0
    """Of an exit: what the follow holds by its settled copies."""
    exit_shares: Micros | None = None
    """Of an exit: what it sells in all. None: not known yet."""
    exit_sold_shares: Micros = 0
    """Of an exit: what its earlier attempts have sold."""
    filters: FollowFilters | None = None
    """Of an entry; None: the follow has none."""
    market: MarketDetails | None = None
    """Of an entry, where the filters need them and they could be had."""


class OrderType(StrEnum):
    FOK = "FOK"
    """Fill or kill: all immediately or nothing; for entries."""
    FAK = "FAK"
    """Fill and kill: what can be matched immediately; for exits."""


class IntentApproved(IntentMessage):
    """An intent may be executed by these terms; the executor accepts nothing else."""

    topic: ClassVar[str] = "approved-intents"
    order_type: OrderType
    usdc: Micros
    """What a BUY spends, without the fee: micro-USDC, a multiple of a cent; 0 on a SELL."""
    shares: Micros
    """What a SELL sells: micro-shares, a multiple of a hundredth of a share; 0 on a BUY."""
    limit_price: ExactDecimal
    """The worst price that the order accepts, a multiple of the market's tick."""
    expires_at: AwareDatetime
    """The order is not sent after this time."""
    quote: Quote
    facts: VerdictFacts


class IntentRefused(IntentMessage):
    """An intent will not be executed: ``value`` violates ``threshold`` by ``margin``."""

    topic: ClassVar[str] = "copy-outcomes"
    reason: Refusal
    value: ExactDecimal
    threshold: ExactDecimal
    facts: VerdictFacts

    @property
    def margin(self) -> ExactDecimal:
        return abs(self.value - self.threshold)
