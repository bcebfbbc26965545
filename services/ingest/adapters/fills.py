"""What all feeds of leaders' fills do with a fill."""

from collections.abc import Sequence
from decimal import Decimal

from shared.messages.leader_fills import LeaderFillSeen
from shared.observe import tracing
from shared.streams.routes import Publish

ROWS_REMEMBERED = 10_000
"""The socket may bring a row again. A row that was published is not published again: the result
would be the same, for twice the work. A row of the socket under its other type is another row: each
type is summed on its own."""


async def publish_fill(fill: LeaderFillSeen, publish: Publish) -> None:
    """Publish it in the span that its whole trace begins with."""
    with tracing.start_span("observe leader fill", **{"slipstream.source": fill.source.value}):
        await publish(fill)


def add_price_ranges(fills: Sequence[LeaderFillSeen]) -> list[LeaderFillSeen]:
    """The fills, each with the lowest and the highest price of those of its trade. For sources that
    report a trade whole: all of its fills must be given.
    """
    prices_by_trade: dict[str, list[Decimal]] = {}
    for fill in fills:
        prices_by_trade.setdefault(fill.trade_id, []).append(fill.price)
    return [
        fill.model_copy(
            update={
                "lowest_price": min(prices_by_trade[fill.trade_id]),
                "highest_price": max(prices_by_trade[fill.trade_id]),
            }
        )
        for fill in fills
    ]
