"""Builds valid messages and values for tests; a test passes only the fields that matter to it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.domain.books import Level
from shared.domain.follows import Controls, Follow, Mode, group_by_leader
from shared.domain.money import MICROS, Side
from shared.messages.caches import BalancesFetched, BookSeen
from shared.messages.dead_letters import FrameParked
from shared.messages.debts import Creditor, DebtRaised
from shared.messages.filters import MarketDetails
from shared.messages.intents import (
    CopyIntended,
    Intent,
    IntentApproved,
    IntentQuoted,
    IntentRefused,
    NoQuote,
    OrderType,
    PriceLevel,
    Quote,
    QuoteSource,
    VerdictFacts,
)
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from shared.messages.orders import (
    OrderOverdue,
    OrderReported,
    OrderState,
    TradeReported,
    TradeStatus,
)
from shared.messages.refusals import Refusal
from shared.messages.transactions import (
    ChainFill,
    ConfirmationRequested,
    FillsSettled,
    Purpose,
    ReceiptSeen,
    SettledFill,
    TransactionResolved,
    TransactionState,
)
from shared.polymarket.market_data import Market

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEADER = "0x00000000000000000000000000000000000000A1"
PROXY = "0x00000000000000000000000000000000000000B1"
OTHER_PROXY = "0x00000000000000000000000000000000000000b2"
TOKEN = "50341643796357809199138088836529201104815997551572832995218005287849225766499"
TRANSACTION = "0x" + "7a" * 32
BLOCK = "0x" + "b1" * 32
ORDER_HASH = "0x" + "0d" * 32


def seconds(number: int) -> timedelta:
    return timedelta(seconds=number)


def usdc(amount: str | int) -> int:
    """Return whole USDC, or whole shares, as base units."""
    return int(Decimal(amount) * MICROS)


shares = usdc


def level(price: str, amount: str | int) -> Level:
    return Level(Decimal(price), usdc(amount))


def a_fill(**overrides: Any) -> LeaderFillSeen:
    fields = {
        "message_id": "fill-1",
        "occurred_at": NOON,
        "leader": LEADER,
        "transaction_hash": TRANSACTION,
        "token_id": TOKEN,
        "side": Side.BUY,
        "shares": shares(100),
        "price": Decimal("0.50"),
        "source": FillSource.RTDS,
        "row_id": "row-1",
        "filled_at": NOON - seconds(1),
        "title": "Will it rain?",
        "outcome": "Yes",
    }
    return LeaderFillSeen.model_validate(fields | overrides)


def a_follow(**overrides: Any) -> Follow:
    base = Follow(
        follow_id="follow-1",
        version=1,
        leader=LEADER,
        proxy=PROXY,
        percent=Decimal(10),
        fixed_usdc=None,
        min_usdc=usdc(1),
        max_usdc=usdc(100),
        max_slippage_bps=Decimal(200),
        daily_cap_usdc=usdc(500),
    )
    return replace(base, **overrides)


def controls(*follows: Follow, version: int = 7, modes: dict[str, Mode] | None = None) -> Controls:
    given = follows or (a_follow(),)
    return Controls(
        version=version,
        follows_by_leader=group_by_leader(given),
        mode_by_scope=modes or {},
        ended_by_leader=group_by_leader(given, active=False),
    )


def an_intent(**overrides: Any) -> Intent:
    fields = {
        "intent_id": "1a" * 16,
        "proxy": PROXY,
        "leader": LEADER,
        "follow_id": "follow-1",
        "controls_version": 7,
        "transaction_hash": TRANSACTION,
        "token_id": TOKEN,
        "side": Side.BUY,
        "leader_price": Decimal("0.50"),
        "leader_shares": shares(100),
        "usdc": usdc(5),
        "shares": shares(10),
        "filled_at": NOON - seconds(1),
        "seen_at": NOON,
        "intended_at": NOON,
        "title": "Will it rain?",
        "outcome": "Yes",
    }
    return Intent.model_validate(fields | overrides)


def a_quote(**overrides: Any) -> Quote:
    fields = {
        "source": QuoteSource.SOCKET,
        "levels": (PriceLevel(price=Decimal("0.50"), shares=shares(10)),),
        "shares": shares(10),
        "usdc": usdc(5),
        "complete": True,
        "fetched_at": NOON,
        "tick_size": Decimal("0.01"),
        "min_order_shares": shares(5),
        "neg_risk": False,
        "fee_rate": Decimal("0.04"),
    }
    return Quote.model_validate(fields | overrides)


def market_details(**overrides: Any) -> MarketDetails:
    fields = {
        "condition_id": "0x" + "c0" * 32,
        "tags": ("politics", "us-elections"),
        "liquidity_usdc": usdc(20_000),
        "ends_at": NOON + timedelta(days=30),
        "read_at": NOON,
    }
    return MarketDetails.model_validate(fields | overrides)


def levels(*offers: tuple[str, str | int]) -> tuple[PriceLevel, ...]:
    return tuple(
        PriceLevel(price=Decimal(price), shares=shares(amount)) for price, amount in offers
    )


def intended(**overrides: Any) -> CopyIntended:
    return CopyIntended(message_id="intended-1", occurred_at=NOON, intent=an_intent(**overrides))


def quoted(quote: Quote | NoQuote | None = None, **overrides: Any) -> IntentQuoted:
    return IntentQuoted(
        message_id="quoted-1",
        occurred_at=NOON,
        intent=an_intent(**overrides),
        quote=quote or a_quote(),
    )


def facts(**overrides: Any) -> VerdictFacts:
    fields = {
        "judged_at": NOON,
        "controls_version": 7,
        "mode": "active",
        "max_slippage_bps": Decimal(200),
        "max_trade_usdc": usdc(1000),
        "daily_cap_usdc": usdc(500),
        "spent_today_usdc": 0,
        "balance_usdc": usdc(1000),
        "allowance_usdc": usdc(1000),
        "balance_shares": 0,
        "reserved_usdc": 0,
        "reserved_shares": 0,
        "balance_at": NOON,
    }
    return VerdictFacts.model_validate(fields | overrides)


def approved(intent: Intent | None = None, **overrides: Any) -> IntentApproved:
    fields = {
        "message_id": "judged-1",
        "occurred_at": NOON,
        "intent": intent or an_intent(),
        "order_type": OrderType.FOK,
        "usdc": usdc(5),
        "shares": 0,
        "limit_price": Decimal("0.51"),
        "expires_at": NOON + seconds(60),
        "quote": a_quote(),
        "facts": facts(),
    }
    return IntentApproved.model_validate(fields | overrides)


def refused(intent: Intent | None = None, **overrides: Any) -> IntentRefused:
    fields = {
        "message_id": "judged-1",
        "occurred_at": NOON,
        "intent": intent or an_intent(),
        "reason": Refusal.SLIPPAGE_TOO_HIGH,
        "value": Decimal(300),
        "threshold": Decimal(200),
        "facts": facts(balance_usdc=None, allowance_usdc=None, balance_at=None),
    }
    return IntentRefused.model_validate(fields | overrides)


def an_outcome(**overrides: Any) -> OrderReported:
    fields = {
        "message_id": "outcome-1",
        "occurred_at": NOON,
        "proxy": PROXY,
        "intent_id": "1a" * 16,
        "order_hash": ORDER_HASH,
        "state": OrderState.CONFIRMED,
        "side": Side.BUY,
        "token_id": TOKEN,
        "shares": shares(10),
        "usdc": usdc(5),
        "fee_usdc": usdc("0.1"),
    }
    return OrderReported.model_validate(fields | overrides)


def a_trade(**overrides: Any) -> TradeReported:
    fields = {
        "message_id": "trade-1",
        "occurred_at": NOON,
        "proxy": PROXY,
        "intent_id": "1a" * 16,
        "order_hash": ORDER_HASH,
        "trade_id": "venue-1",
        "status": TradeStatus.MATCHED,
        "side": Side.BUY,
        "token_id": TOKEN,
        "shares": shares(10),
        "price": Decimal("0.50"),
        "usdc": usdc(5),
        "fee_usdc": usdc("0.1"),
        "transaction_hash": "",
        "matched_at": NOON,
    }
    return TradeReported.model_validate(fields | overrides)


def overdue(**overrides: Any) -> OrderOverdue:
    fields = {
        "message_id": "overdue-1",
        "occurred_at": NOON,
        "proxy": PROXY,
        "intent_id": "1a" * 16,
        "order_hash": ORDER_HASH,
    }
    return OrderOverdue.model_validate(fields | overrides)


def settled(**overrides: Any) -> SettledFill:
    fields = {
        "order_hash": ORDER_HASH,
        "shares": shares(10),
        "usdc": usdc(5),
        "fee_usdc": usdc("0.1"),
    }
    return SettledFill.model_validate(fields | overrides)


def requested(**overrides: Any) -> ConfirmationRequested:
    fields = {
        "message_id": "request-1",
        "occurred_at": NOON,
        "proxy": PROXY,
        "request_id": "request-1",
        "transaction_hash": TRANSACTION,
        "purpose": Purpose.SETTLEMENT,
        "intent_id": "1a" * 16,
    }
    return ConfirmationRequested.model_validate(fields | overrides)


def a_receipt(**overrides: Any) -> ReceiptSeen:
    """A receipt in block 100, which is not final yet."""
    fields = {
        "message_id": "receipt-1",
        "occurred_at": NOON,
        "proxy": PROXY,
        "request_id": "request-1",
        "transaction_hash": TRANSACTION,
        "block_number": 100,
        "block_hash": BLOCK,
        "succeeded": True,
        "fills": (settled(),),
        "finalized_block": 90,
    }
    return ReceiptSeen.model_validate(fields | overrides)


def resolved(**overrides: Any) -> TransactionResolved:
    fields = {
        "message_id": "resolved-1",
        "occurred_at": NOON,
        "proxy": PROXY,
        "request_id": "request-1",
        "transaction_hash": TRANSACTION,
        "purpose": Purpose.SETTLEMENT,
        "intent_id": "1a" * 16,
        "state": TransactionState.FINAL,
        "block_number": 100,
        "fills": (settled(),),
    }
    return TransactionResolved.model_validate(fields | overrides)


def a_chain_fill(**overrides: Any) -> ChainFill:
    """A BUY of 10 shares for 5 USDC and a fee."""
    fields = {
        "order_hash": ORDER_HASH,
        "transaction_hash": TRANSACTION,
        "log_index": 7,
        "side": Side.BUY,
        "token_id": TOKEN,
        "shares": shares(10),
        "usdc": usdc(5),
        "fee_usdc": usdc("0.1"),
    }
    return ChainFill.model_validate(fields | overrides)


def fills_settled(**overrides: Any) -> FillsSettled:
    """The fills of a proxy in block 100, which is final."""
    fields = {
        "message_id": f"{PROXY}:{BLOCK}:fills",
        "occurred_at": NOON,
        "proxy": PROXY,
        "block_number": 100,
        "block_hash": BLOCK,
        "mined_at": NOON,
        "fills": (a_chain_fill(),),
    }
    return FillsSettled.model_validate(fields | overrides)


def a_debt(**overrides: Any) -> DebtRaised:
    fields = {
        "message_id": "debt-1",
        "occurred_at": NOON,
        "proxy": PROXY,
        "debt_id": "debt-1",
        "intent_id": "1a" * 16,
        "creditor": Creditor.OPERATOR,
        "usdc": usdc(5),
        "reason": "the proxy had nothing left",
    }
    return DebtRaised.model_validate(fields | overrides)


def a_book_seen(**overrides: Any) -> BookSeen:
    fields = {
        "message_id": "book-1",
        "occurred_at": NOON,
        "token_id": TOKEN,
        "bids": levels(("0.49", 100)),
        "asks": levels(("0.51", 100)),
        "fetched_at": NOON,
    }
    return BookSeen.model_validate(fields | overrides)


def balances(**overrides: Any) -> BalancesFetched:
    fields = {
        "message_id": "balances-1",
        "occurred_at": NOON,
        "proxy": PROXY,
        "usdc": usdc(1000),
        "allowance_by_spender": {OTHER_PROXY: usdc(1)},
        "shares_by_token": {TOKEN: shares(10)},
        "shares_approved_by_spender": {OTHER_PROXY: True},
        "block_number": 100,
        "fetched_at": NOON,
    }
    return BalancesFetched.model_validate(fields | overrides)


def a_parked_frame(**overrides: Any) -> FrameParked:
    fields = {
        "message_id": "frame-1",
        "occurred_at": NOON,
        "feed": "rtds",
        "reason": "not JSON",
        "frame": "{",
    }
    return FrameParked.model_validate(fields | overrides)


def a_market(**overrides: Any) -> Market:
    base = Market(
        condition_id="0x" + "c0" * 32,
        tick_size=Decimal("0.01"),
        min_order_shares=shares(5),
        neg_risk=False,
        fee_rate=Decimal("0.04"),
    )
    return replace(base, **overrides)
