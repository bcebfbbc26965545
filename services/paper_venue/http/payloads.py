"""JSON bodies of the CLOB's REST replies: order books, trades, orders and balances.

Shapes as recorded in 2026-09 (`data/README.md` of the reference) and as the official clients parse
them.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from services.paper_venue.exchange.accounts import UNLIMITED, Account
from services.paper_venue.exchange.book import Book, Level, RestingOrder
from services.paper_venue.exchange.formatting import amount_text, average_price_text, price_text
from services.paper_venue.exchange.matching import Fill
from services.paper_venue.exchange.orders import Market, MarketVersion
from services.paper_venue.exchange.trades import Trade

Json = dict[str, Any]


def _levels(levels: Iterable[Level]) -> list[Json]:
    return [
        {"price": price_text(level.price), "size": amount_text(level.shares)} for level in levels
    ]


def book_summary(market: Market, outcome: int, book: Book, *, last_price: str, now_ms: int) -> Json:
    """The body of ``GET /book``: bids ascending, asks descending.

    The hash is the SHA-1 that py-clob-client-v2 recomputes, over the fields that it knows:
    ``version`` is not among them.
    """
    summary: Json = {
        "market": market.condition_id,
        "asset_id": market.token_ids[outcome],
        "timestamp": str(now_ms),
        "hash": "",
        "bids": _levels(book.bids(outcome)),
        "asks": _levels(book.asks(outcome)),
        "min_order_size": amount_text(market.min_shares),
        "tick_size": price_text(market.tick),
        "neg_risk": market.neg_risk,
        "last_trade_price": last_price,
    }
    version = {"version": market.version.value} if market.version is MarketVersion.V2 else {}
    return summary | {"hash": sha1_hex(orjson.dumps(summary))} | version


def trade_row(trade: Trade, *, owner: str) -> Json:
    """A row of ``GET /data/trades``, from the taker's side; ``trader_side`` is the role of
    ``owner``.
    """
    match, taker = trade.match, trade.match.taker
    return {
        "id": trade.id,
        "taker_order_id": taker.id,
        "market": taker.market.condition_id,
        "asset_id": taker.token_id,
        "side": taker.side.name,
        "size": amount_text(match.shares),
        "fee_rate_bps": "0",
        "price": average_price_text(match.collateral, match.shares),
        "status": f"TRADE_STATUS_{trade.status.value}",
        "match_time": str(trade.matched_at_ms // 1000),
        "last_update": str(trade.updated_at_ms // 1000),
        "outcome": taker.outcome,
        "bucket_index": 0,
        "owner": owner,
        "maker_address": taker.maker,
        "transaction_hash": trade.transaction_hash,
        "trader_side": "TAKER" if owner == taker.owner else "MAKER",
        "maker_orders": [_maker_order(fill) for fill in match.fills],
    }


def _maker_order(fill: Fill) -> Json:
    maker = fill.maker
    return {
        "order_id": maker.id,
        "owner": maker.owner,
        "maker_address": maker.maker,
        "matched_amount": amount_text(fill.shares),
        "price": price_text(maker.price),
        "fee_rate_bps": "0",
        "asset_id": maker.token_id,
        "outcome": maker.outcome,
        "side": maker.side.name,
    }


def open_order(resting: RestingOrder, *, trade_ids: Sequence[str], status: str = "LIVE") -> Json:
    """A row of ``GET /data/orders``: a resting order, or a held one (``DELAYED``)."""
    order = resting.order
    return {
        "id": order.id,
        "status": f"ORDER_STATUS_{status}",
        "owner": order.owner,
        "maker_address": order.maker,
        "market": order.market.condition_id,
        "asset_id": order.token_id,
        "side": order.side.name,
        "original_size": amount_text(order.shares),
        "size_matched": amount_text(resting.matched),
        "price": price_text(order.price),
        "outcome": order.outcome,
        "order_type": order.kind.value,
        "associate_trades": list(trade_ids),
        "created_at": order.placed_at_ms // 1000,
        "expiration": str(order.expiration),
    }


def balance_allowance(account: Account, *, token_id: str | None) -> Json:
    """The body of ``GET /balance-allowance``, base units as text; ``token_id`` None: USDC.

    An exchange may transfer either all shares (the maximum of uint256) or none (0).
    """
    if token_id is None:
        allowances = {
            exchange: str(max(allowance, 0)) for exchange, allowance in account.allowances.items()
        }
        return {"balance": str(account.collateral), "allowances": allowances}
    allowances = {
        exchange: str(UNLIMITED * 2 - 1 if exchange in account.on_chain.approvals else 0)
        for exchange in account.on_chain.allowances
    }
    return {"balance": str(account.shares.get(token_id, 0)), "allowances": allowances}


def sha1_hex(payload: bytes) -> str:
    return hashlib.sha1(payload, usedforsecurity=False).hexdigest()
