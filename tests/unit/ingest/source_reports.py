"""Builds what each source reports of a settlement: raw frames, pages and logs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from eth_abi.abi import encode

from services.ingest.adapters import ActivityFeed, DataFeed, parse_fills
from shared.chain.addresses import EXCHANGE_V1, EXCHANGE_V2
from shared.chain.logs import ORDER_FILLED, ORDER_FILLED_V1, decode_order_fills
from shared.domain.ids import trade_id
from shared.domain.money import Side, as_decimal
from shared.messages.base import Message
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from shared.polymarket.data_api import Trades, parse_page
from tests.builders import LEADER, NOON, OTHER_PROXY, TRANSACTION
from tests.feeds import a_data_feed
from tests.unit.ingest.test_activity_feed import FakeChannel

YES, NO = "11" * 20, "22" * 20
"""The two outcomes of a market."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """What one order of the leader traded in the settlement. Micro-shares and micro-USDC."""

    order: int
    token_id: str
    side: Side
    shares: int
    usdc: int
    took_liquidity: bool
    """Whether the order took liquidity; else it rested in the book."""
    transaction: str = TRANSACTION
    """The hash of its settlement."""
    matched_after_s: int = 0
    """The match, in seconds after NOON."""

    @property
    def trade_id(self) -> str:
        return trade_id(
            transaction_hash=self.transaction, leader=LEADER, token_id=self.token_id, side=self.side
        )

    @property
    def size(self) -> str:
        return str(as_decimal(self.shares))

    @property
    def price(self) -> str:
        """The ratio in a few digits, as the socket and the Data API report it."""
        return str(round(Decimal(self.usdc) / self.shares, 10))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """What one source delivers at one time, as raw text."""

    source: FillSource
    raw: str
    mined_at: datetime = NOON

    async def read_by_feed(self) -> list[LeaderFillSeen]:
        """The fills that ingest's feed, newly started, publishes of it."""
        published: list[Message] = []

        async def publish(message: Message) -> None:
            published.append(message)

        match self.source:
            case FillSource.RTDS:
                feed = ActivityFeed(
                    FakeChannel(self.raw), leaders=lambda: {LEADER}, now=lambda: NOON
                )
                await feed(publish)
            case FillSource.DATA:
                await _build_data_feed(self.raw).read_all(publish)
            case FillSource.CHAIN:
                logs = decode_order_fills(json.loads(self.raw))
                published += parse_fills(
                    logs, mined_at={log.block_number: self.mined_at for log in logs}, seen_at=NOON
                )
        fills = [message for message in published if isinstance(message, LeaderFillSeen)]
        assert len(fills) == len(published), published
        return fills


def _build_data_feed(raw: str) -> DataFeed:
    async def fetch_trades(*_: object) -> Trades:
        rows = parse_page(json.loads(raw, parse_float=Decimal))[0]
        return Trades(rows=rows, is_complete=True)

    return a_data_feed(fetch_trades, {LEADER})


def socket_report(fill: Fill, kind: str, *, as_text: bool) -> SourceReport:
    """A frame of the activity socket with the row and one of another wallet. ``as_text``: its
    numbers are texts.
    """
    envelopes = [
        _envelope(kind, _row(fill, as_text=as_text)),
        _envelope(kind, _row(fill, as_text=as_text) | {"proxyWallet": OTHER_PROXY}),
    ]
    return SourceReport(source=FillSource.RTDS, raw=json.dumps(envelopes))


def _envelope(kind: str, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "topic": "activity",
        "type": kind,
        "timestamp": 1790272257115,
        "connection_id": "g",
        "payload": row,
    }


def _row(fill: Fill, *, as_text: bool) -> dict[str, Any]:
    size, price = (
        (fill.size, fill.price) if as_text else (json.loads(fill.size), json.loads(fill.price))
    )
    return {
        "proxyWallet": LEADER.lower(),
        "transactionHash": fill.transaction,
        "asset": fill.token_id,
        "side": fill.side.value,
        "size": size,
        "price": price,
        "timestamp": int(NOON.timestamp()) + fill.matched_after_s,
        "title": "Will it rain?",
        "outcome": "Yes",
    }


def data_api_report(fills: Sequence[Fill], *, mined_after_s: int = 0) -> SourceReport:
    """A page of ``/v2/trades``. Its rows are dated by their block; equal fills are equal rows."""
    names = {
        "proxyWallet": "proxy_wallet",
        "transactionHash": "transaction_hash",
        "asset": "token_id",
    }
    rows = [
        {
            names.get(name, name): value
            for name, value in _row(
                replace(fill, matched_after_s=mined_after_s), as_text=False
            ).items()
        }
        for fill in fills
    ]
    return SourceReport(
        source=FillSource.DATA, raw=json.dumps({"data": rows, "pagination": {"next_cursor": None}})
    )


def chain_report(
    fills: Sequence[Fill], *, block: int, mined_after_s: int = 0, v1: bool = False
) -> SourceReport:
    """All logs of the settlement. Another ``block`` is what a reorg makes of them: the same logs
    under other indices. ``v1``: of the exchange's first version.
    """
    logs = [_log(fill, index=block + index, block=block, v1=v1) for index, fill in enumerate(fills)]
    return SourceReport(
        source=FillSource.CHAIN,
        raw=json.dumps(logs),
        mined_at=NOON + timedelta(seconds=mined_after_s),
    )


def _log(fill: Fill, *, index: int, block: int, v1: bool) -> dict[str, Any]:
    exchange = EXCHANGE_V1 if v1 else EXCHANGE_V2
    making, taking = (fill.usdc, fill.shares) if fill.side is Side.BUY else (fill.shares, fill.usdc)
    token = int(fill.token_id)
    if v1:
        assets = (0, token) if fill.side is Side.BUY else (token, 0)
        data = encode(["uint256"] * 5, [*assets, making, taking, 0])
    else:
        data = encode(
            ["uint256"] * 7, [0 if fill.side is Side.BUY else 1, token, making, taking, 0, 0, 0]
        )
    taker = exchange if fill.took_liquidity else OTHER_PROXY
    return {
        "address": exchange.lower(),
        "topics": [
            ORDER_FILLED_V1 if v1 else ORDER_FILLED,
            f"0x{fill.order:064x}",
            _topic(LEADER),
            _topic(taker),
        ],
        "data": "0x" + data.hex(),
        "blockNumber": hex(block),
        "blockHash": f"0x{block:064x}",
        "transactionHash": fill.transaction,
        "logIndex": hex(index),
        "removed": False,
    }


def _topic(address: str) -> str:
    return "0x" + address[2:].lower().rjust(64, "0")
