"""JSON events of the market and user channels, and activity rows of RTDS.

Shapes as recorded in 2026-09 (`data/README.md` of the reference) and as the official clients parse
them.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

from services.paper_venue.exchange.book import Book, LevelChange
from services.paper_venue.exchange.formatting import (
    amount_text,
    average_price_text,
    json_number,
    price_text,
)
from services.paper_venue.exchange.orders import PRICE_ONE, Market, Order, Side
from services.paper_venue.exchange.trades import Trade
from services.paper_venue.http.payloads import Json, sha1_hex, trade_row


def book_event(summary: Json) -> Json:
    """The market channel's ``book``: the summary without the fields that only REST has."""
    only_rest = ("min_order_size", "neg_risk")
    return {key: value for key, value in summary.items() if key not in only_rest} | {
        "event_type": "book"
    }


def price_change_event(
    market: Market, changes: Iterable[LevelChange], book: Book, *, now_ms: int
) -> Json:
    """The new depth of each changed level, for both outcomes."""
    latest = {(change.is_bid, change.yes_price): change for change in changes}
    entries = [
        _price_change(market, outcome, change, book, now_ms)
        for change in latest.values()
        for outcome in (0, 1)
    ]
    return {
        "market": market.condition_id,
        "price_changes": entries,
        "timestamp": str(now_ms),
        "event_type": "price_change",
    }


def _price_change(
    market: Market, outcome: int, change: LevelChange, book: Book, now_ms: int
) -> Json:
    price = price_text(change.yes_price if outcome == 0 else PRICE_ONE - change.yes_price)
    size = amount_text(change.shares)
    token = market.token_ids[outcome]
    side = Side.BUY if change.is_bid == (outcome == 0) else Side.SELL
    return {
        "asset_id": token,
        "price": price,
        "size": size,
        "side": side.name,
        "hash": sha1_hex(f"{token}:{now_ms}:{side.name}:{price}:{size}".encode()),
        "best_bid": price_text(book.best_bid(outcome) or 0),
        "best_ask": price_text(book.best_ask(outcome) or PRICE_ONE),
    }


def last_trade_events(trade: Trade) -> list[Json]:
    """One ``last_trade_price`` event per price at which the taker's order traded."""
    taker = trade.match.taker
    return [
        {
            "market": taker.market.condition_id,
            "asset_id": taker.token_id,
            "price": price_text(price),
            "size": amount_text(sum(fill.shares for fill in fills)),
            "fee_rate_bps": "0",
            "side": taker.side.name,
            "timestamp": str(trade.matched_at_ms),
            "event_type": "last_trade_price",
            "transaction_hash": trade.transaction_hash,
        }
        for price, fills in groupby(trade.match.fills, key=lambda fill: fill.price)
    ]


def best_bid_ask_event(market: Market, outcome: int, book: Book, *, now_ms: int) -> Json:
    best_bid, best_ask = book.best_bid(outcome) or 0, book.best_ask(outcome) or PRICE_ONE
    return {
        "event_type": "best_bid_ask",
        "market": market.condition_id,
        "asset_id": market.token_ids[outcome],
        "best_bid": price_text(best_bid),
        "best_ask": price_text(best_ask),
        "spread": price_text(best_ask - best_bid),
        "timestamp": str(now_ms),
    }


def tick_size_event(market: Market, token_id: str, *, old_tick: int, now_ms: int) -> Json:
    return {
        "event_type": "tick_size_change",
        "market": market.condition_id,
        "asset_id": token_id,
        "old_tick_size": price_text(old_tick),
        "new_tick_size": price_text(market.tick),
        "timestamp": str(now_ms),
    }


def market_resolved_event(market: Market, payouts: tuple[int, int], *, now_ms: int) -> Json:
    """The winner is the outcome that pays more; if both pay the same, there is none."""
    winner = None if payouts[0] == payouts[1] else int(payouts[1] > payouts[0])
    return {
        "event_type": "market_resolved",
        "id": market.id,
        "market": market.condition_id,
        "assets_ids": list(market.token_ids),
        "winning_asset_id": "" if winner is None else market.token_ids[winner],
        "winning_outcome": "" if winner is None else market.outcomes[winner],
        "timestamp": str(now_ms),
        "tags": [],
    }


def order_event(
    order: Order, *, kind: str, status: str, matched: int, trade_ids: Sequence[str], now_ms: int
) -> Json:
    """The user channel's ``order``: kind PLACEMENT, UPDATE or CANCELLATION."""
    return {
        "id": order.id,
        "owner": order.owner,
        "market": order.market.condition_id,
        "asset_id": order.token_id,
        "side": order.side.name,
        "order_owner": order.owner,
        "original_size": amount_text(order.shares),
        "size_matched": amount_text(matched),
        "price": price_text(order.price),
        "associate_trades": list(trade_ids),
        "outcome": order.outcome,
        "type": kind,
        "created_at": str(order.placed_at_ms // 1000),
        "expiration": str(order.expiration),
        "order_type": order.kind.value,
        "status": status,
        "maker_address": order.maker,
        "timestamp": str(now_ms),
        "event_type": "order",
    }


def killed_event(order: Order, *, reason: str, now_ms: int) -> Json:
    """The user channel's ``order`` for a killed order: with empty fields that typed clients often
    cannot parse.
    """
    event = order_event(
        order,
        kind="CANCELLATION",
        status=f"CANCELED_{reason}",
        matched=0,
        trade_ids=(),
        now_ms=now_ms,
    )
    return event | {"size_matched": "", "created_at": "", "outcome": ""}


def trade_event(trade: Trade, *, owner: str, now_ms: int) -> Json:
    """The user channel's ``trade`` for one of the trade's API keys."""
    row = trade_row(trade, owner=owner)
    del row["transaction_hash"]
    return row | {
        "status": trade.status.value,
        "timestamp": str(now_ms),
        "trade_owner": trade.match.taker.owner,
        "transaction_hash": trade.transaction_hash,
        "type": "TRADE",
        "event_type": "trade",
    }


def activity_rows(trade: Trade) -> list[Json]:
    """RTDS payloads: the taker's row with its fee, then each maker's, each from its own wallet's
    side.
    """
    match = trade.match
    taker = _activity(
        trade,
        match.taker,
        shares=match.shares,
        price=average_price_text(match.collateral, match.shares),
    )
    taker["fee"] = json_number(amount_text(trade.fee))
    makers = [
        _activity(trade, fill.maker, shares=fill.shares, price=price_text(fill.maker.price))
        for fill in match.fills
    ]
    return [taker, *makers]


def _activity(trade: Trade, order: Order, *, shares: int, price: str) -> Json:
    market = order.market
    return {
        "asset": order.token_id,
        "bio": "",
        "conditionId": market.condition_id,
        "eventSlug": market.event_slug,
        "icon": "",
        "name": "",
        "outcome": order.outcome,
        "outcomeIndex": order.outcome_index,
        "price": json_number(price),
        "profileImage": "",
        "proxyWallet": order.maker,
        "pseudonym": "",
        "side": order.side.name,
        "size": json_number(amount_text(shares)),
        "slug": market.slug,
        "timestamp": trade.matched_at_ms // 1000,
        "title": market.question,
        "transactionHash": trade.transaction_hash,
    }
