"""Sets the local order books to the recorded ones while a recording is played."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.paper_venue.exchange.orders import PRICE_ONE, Market, Side
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.world.quoting import LevelKey
from services.paper_venue.world.trader_wallets import NoTrade, TraderWallet, place_resting_order

_CENT = 10_000


@dataclass(slots=True)
class PlayedMarket:
    """A local market that replaces a recorded one, with the recorded levels of its book (in
    micro-shares) and the market makers' resting orders by level.
    """

    market: Market
    recorded_levels: dict[LevelKey, int] = field(default_factory=dict)
    order_ids: dict[LevelKey, str] = field(default_factory=dict)


class BookRestorer:
    """Sets the local order books to the recorded ones by resting orders of two market makers: one
    has the bids and one the asks, so that neither can match himself.
    """

    def __init__(
        self, venue: Venue, makers: Sequence[TraderWallet], markets: Mapping[str, Market]
    ) -> None:
        """``markets`` by recorded condition id."""
        self.played_markets = {
            condition: PlayedMarket(market) for condition, market in markets.items()
        }
        self.refusals: Counter[str] = Counter()
        self._venue = venue
        self._bidder, self._asker = makers

    def set_book(self, condition_id: str, levels: Mapping[LevelKey, int], *, now_ms: int) -> None:
        """Replace the whole book; ``levels`` in micro-shares."""
        self.played_markets[condition_id].recorded_levels = dict(levels)
        self.restore(condition_id, now_ms=now_ms)

    def set_levels(self, condition_id: str, levels: Mapping[LevelKey, int], *, now_ms: int) -> None:
        """Change these levels, in micro-shares; 0 removes a level."""
        self.played_markets[condition_id].recorded_levels |= levels
        self.restore(condition_id, now_ms=now_ms)

    def restore(self, condition_id: str, *, now_ms: int) -> None:
        """Make the local book equal to the recorded one: cancel what differs, then place what is
        missing. What the venue refuses is counted in ``refusals``.
        """
        played = self.played_markets[condition_id]
        placeable = {
            level: shares
            for level, recorded in played.recorded_levels.items()
            if (shares := _placeable_shares(played.market, level, recorded))
        }
        for level in [
            level
            for level in played.order_ids
            if self._remaining(played, level) != placeable.get(level)
        ]:
            self.cancel_level(played, level, now_ms=now_ms)
        for level, shares in placeable.items():
            if level not in played.order_ids:
                self._place(played, level, shares, now_ms=now_ms)

    def cancel_level(self, played: PlayedMarket, level: LevelKey, *, now_ms: int) -> None:
        order_id = played.order_ids.pop(level)
        resting = self._venue.engine.resting.get(order_id)
        if resting is not None:
            self._venue.on_cancel(order_id, owner=resting.order.owner, now_ms=now_ms)

    def opposite_maker(self, side: Side) -> TraderWallet:
        """The market maker whose orders a taker of this side matches."""
        return self._asker if side is Side.BUY else self._bidder

    def _remaining(self, played: PlayedMarket, level: LevelKey) -> int | None:
        resting = self._venue.engine.resting.get(played.order_ids[level])
        return None if resting is None else resting.remaining

    def _place(self, played: PlayedMarket, level: LevelKey, shares: int, *, now_ms: int) -> None:
        trader, side = (self._bidder, Side.BUY) if level.is_bid else (self._asker, Side.SELL)
        token = played.market.token_ids[0]
        try:
            order_id = place_resting_order(
                self._venue,
                trader,
                token_id=token,
                side=side,
                price=level.yes_price,
                shares=shares,
                now_ms=now_ms,
            )
        except NoTrade as refused:
            self.refusals[str(refused)] += 1
        else:
            played.order_ids[level] = order_id


def _placeable_shares(market: Market, level: LevelKey, shares: int) -> int:
    """The micro-shares of a recorded level that an order can have here: whole hundredths of a
    share. 0: the price is off the tick grid, or the size below the smallest order.
    """
    on_grid = (
        level.yes_price % market.tick == 0
        and market.tick <= level.yes_price <= PRICE_ONE - market.tick
    )
    whole = shares // _CENT * _CENT
    return whole if on_grid and whole >= market.min_shares else 0
