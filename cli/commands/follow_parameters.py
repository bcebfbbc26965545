"""The types of the parameters of `slipstream follow`, with their help."""

from typing import Annotated

import typer

USDC, SPAN, ID = "USDC", "TIME", "CONDITION_ID"

Into = Annotated[str, typer.Option("--into", help="The follower's proxy wallet.")]

Percent = Annotated[str | None, typer.Option(help="Copy this many percent of the leader's trade.")]
Fixed = Annotated[
    str | None,
    typer.Option(help="Copy this amount, whatever the leader's trade is.", metavar=USDC),
]
Minimum = Annotated[
    str, typer.Option("--min", help="A smaller copy is raised to this.", metavar=USDC)
]
Maximum = Annotated[str, typer.Option("--max", help="A larger copy is cut to this.", metavar=USDC)]
Slippage = Annotated[
    str, typer.Option(help="At most this many percent worse than the leader's price.")
]
DailyCap = Annotated[
    str, typer.Option(help="Spend at most this much per UTC day by this follow.", metavar=USDC)
]
Exits = Annotated[str, typer.Option(help="When the leader sells: proportional, all or none.")]
Entries = Annotated[str, typer.Option(help="When the leader buys: trades (copied) or none.")]
Counter = Annotated[
    bool, typer.Option("--counter", help="Trade the complementary outcome instead.")
]

MinLeader = Annotated[
    str | None,
    typer.Option(help="Only entries of which the leader's is worth this.", metavar=USDC),
]
MinPrice = Annotated[str | None, typer.Option(help="Only entries at this price or above.")]
MaxPrice = Annotated[str | None, typer.Option(help="Only entries at this price or below.")]
MaxSpread = Annotated[
    str | None, typer.Option(help="Only entries where bid and ask are this many percent apart.")
]
MinLiquidity = Annotated[
    str | None, typer.Option(help="Only entries into markets with this liquidity.", metavar=USDC)
]
MinTimeLeft = Annotated[
    str | None, typer.Option(help="Only markets that end no sooner: 30m, 2h, 3d.", metavar=SPAN)
]
MaxTimeLeft = Annotated[
    str | None, typer.Option(help="Only markets that end no later: 30m, 2h, 3d.", metavar=SPAN)
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", help="Only markets with this tag; repeated: with one of them."),
]
ExcludedTags = Annotated[
    list[str] | None, typer.Option("--not-tag", help="No markets with this tag; repeatable.")
]
Markets = Annotated[
    list[str] | None,
    typer.Option("--market", help="Only this market; repeated: these.", metavar=ID),
]
ExcludedMarkets = Annotated[
    list[str] | None,
    typer.Option("--not-market", help="Not this market; repeatable.", metavar=ID),
]
