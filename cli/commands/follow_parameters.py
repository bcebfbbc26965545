"""The types of the parameters of `slipstream follow`, with their help."""

from typing import Annotated

import typer

USDC, SPAN, TAG, ID = "USDC", "TIME", "TAG", "CONDITION_ID"

Into = Annotated[str, typer.Option("--into", help="The follower's proxy wallet.")]

Percent = Annotated[str | None, typer.Option(help="Copy this many percent of the leader's trade.")]
Fixed = Annotated[
    str | None,
    typer.Option(help="Copy this amount, whatever the leader's trade is.", metavar=USDC),
]
Tiers = Annotated[
    list[str] | None,
    typer.Option(
        "--tier",
        help="Copy SIZE, a percentage such as 5% or an amount, of trades from this many USDC on. "
        "Given for each tier, the first from 0.",
        metavar="USDC:SIZE",
    ),
]
Equity = Annotated[
    str | None,
    typer.Option(
        help="Copy this many percent of the share that the trade is of the leader's equity, of the "
        "follower's equity.",
        metavar="PERCENT",
    ),
]
Minimum = Annotated[
    str, typer.Option("--min", help="A smaller copy is raised to this.", metavar=USDC)
]
Maximum = Annotated[str, typer.Option("--max", help="A larger copy is cut to this.", metavar=USDC)]
Slippage = Annotated[
    str, typer.Option(help="At most this many percent worse than the leader's price.")
]
DailyCap = Annotated[
    str, typer.Option(help="Spend at most this much in any 24 hours by this follow.", metavar=USDC)
]
Exits = Annotated[str, typer.Option(help="When the leader sells: proportional, all or none.")]
AtEnd = Annotated[
    str,
    typer.Option(
        "--at-end",
        help="What happens to the shares that it holds when it ends: keep, close-out or follow "
        "(the leader's exits are still copied).",
    ),
]
Entries = Annotated[
    str,
    typer.Option(
        help="What is bought: trades (what the leader buys), mirror (that, and what he holds more, "
        "at the start and after gaps) or none.",
    ),
]
Counter = Annotated[
    bool, typer.Option("--counter", help="Trade the complementary outcome instead.")
]

MinLeader = Annotated[
    str | None,
    typer.Option(help="Only trades of the leader worth at least this.", metavar=USDC),
]
MinPrice = Annotated[str | None, typer.Option(help="Only entries at this price or above, 0 to 1.")]
MaxPrice = Annotated[str | None, typer.Option(help="Only entries at this price or below, 0 to 1.")]
MaxSpread = Annotated[
    str | None, typer.Option(help="At most this many percent between the best bid and ask.")
]
MinLiquidity = Annotated[
    str | None, typer.Option(help="Only markets with at least this liquidity.", metavar=USDC)
]
MinTimeLeft = Annotated[
    str | None, typer.Option(help="Only markets that end no sooner: 30m, 2h, 3d.", metavar=SPAN)
]
MaxTimeLeft = Annotated[
    str | None, typer.Option(help="Only markets that end no later: 30m, 2h, 3d.", metavar=SPAN)
]
Tags = Annotated[
    list[str] | None,
    typer.Option(
        "--tag", help="Only markets with this tag; repeated: with one of them.", metavar=TAG
    ),
]
ExcludedTags = Annotated[
    list[str] | None,
    typer.Option("--not-tag", help="No markets with this tag; repeatable.", metavar=TAG),
]
Markets = Annotated[
    list[str] | None,
    typer.Option("--market", help="Only this market; repeated: these.", metavar=ID),
]
ExcludedMarkets = Annotated[
    list[str] | None,
    typer.Option("--not-market", help="Not this market; repeatable.", metavar=ID),
]
