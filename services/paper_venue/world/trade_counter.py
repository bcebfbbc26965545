"""Counts the trades that a leader took part in, and those that simulated traders started."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from services.paper_venue.exchange.orders import Market
from services.paper_venue.lifecycle.publisher import Channels


class TradeCounter:
    """Stands in front of the channels: counts what is published and passes it on.

    A leader's trade is what followers copy: everything that one wallet traded of one token on one
    side in one transaction, as taker or as maker.
    """

    def __init__(
        self, channels: Channels, *, leaders: Collection[str], crowd_traders: Collection[str]
    ) -> None:
        self._channels = channels
        self._leaders = frozenset(leaders)
        self._simulated = self._leaders | frozenset(crowd_traders)
        self._counter: Counter[str] = Counter()

    def count_into(self, counter: Counter[str]) -> None:
        self._counter = counter

    def has_subscribers(self, token_ids: Iterable[str]) -> bool:
        return self._channels.has_subscribers(token_ids)

    def publish_market(self, market: Market, events: Sequence[Mapping[str, Any]]) -> None:
        self._channels.publish_market(market, events)

    def publish_user(self, owner: str, condition_id: str, event: Mapping[str, Any]) -> None:
        self._channels.publish_user(owner, condition_id, event)

    def publish_activity(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """``rows``: of one trade, the taker's first."""
        trades = {
            (row["proxyWallet"], row["asset"], row["side"])
            for row in rows
            if row["proxyWallet"] in self._leaders
        }
        self._counter["leader_trades"] += len(trades)
        self._counter["house_matched"] += rows[0]["proxyWallet"] in self._simulated
        self._channels.publish_activity(rows)
