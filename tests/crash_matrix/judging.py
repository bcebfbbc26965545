"""Did a cell lose or double money? Our books, the venue's trades and the chain must tell the same."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from services.executor.decisions import DUST
from shared.clock import utc_now
from shared.domain.money import micros
from shared.messages.orders import FINAL_STATES, OrderState
from shared.polymarket.clob import Clob
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Wallet
from tests.crash_matrix.cells import Finding
from tests.system.deployment import INITIAL_USDC
from tests.system.story import Story
from tools.pipeline.venue import Account

CAPS = """
select s.day, s.spent_usdc, sum(i.cap_usdc) as of_intents
from preflight.spending s join preflight.intents i on i.proxy = s.proxy and i.day = s.day
where s.proxy = :proxy group by s.day, s.spent_usdc
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    finding: Finding
    text: str

    def __str__(self) -> str:
        return f"{self.finding}: {self.text}"


Intents = Mapping[str, str]
"""What is to be copied for each follower: intent by proxy."""


async def is_final(story: Story, intents: Intents) -> bool:
    """Every copy has its last word: order, settlement on the chain, reservation."""
    ids = list(intents.values())
    orders = await story.fetch_rows(
        "select * from executor.orders where intent_id = any(:ids)", ids=ids
    )
    trades = await story.fetch_rows(
        "select * from executor.trades where intent_id = any(:ids) and status <> 'FAILED'", ids=ids
    )
    reserved = await story.fetch_rows(
        "select * from preflight.intents where intent_id = any(:ids) and settled_at is null",
        ids=ids,
    )
    return (
        len(orders) == len(ids)
        and all(order.state in FINAL_STATES for order in orders)
        and all(each.chain_state == "final" for each in trades)
        and not reserved
    )


async def judge(story: Story, intended: Sequence[Intents], *, outcome: OrderState) -> list[Found]:
    """Of all that the circle's leader ever traded; ``outcome`` is what the last copies must have
    come to.
    """
    found: list[Found] = []
    venue = VenueSettings.model_validate({"clob_url": story.deployment.pipeline.urls["clob"]})
    async with Clob(venue, now=utc_now) as clob:
        for account in story.group.followers:
            intents = {each[account.proxy] for each in intended}
            orders = await story.fetch_rows(
                "select * from executor.orders where proxy = :proxy", proxy=account.proxy
            )
            told = await _told(clob, account)
            found += _intents(intents, orders, told)
            found += await _books(story, account)
    found += await _outcomes(story, intended[-1], outcome)
    return found


async def trades_at_the_venue(story: Story, account: Account) -> list[Mapping[str, Any]]:
    venue = VenueSettings.model_validate({"clob_url": story.deployment.pipeline.urls["clob"]})
    async with Clob(venue, now=utc_now) as clob:
        return await _told(clob, account)


async def _told(clob: Clob, account: Account) -> list[Mapping[str, Any]]:
    credentials = await clob.fetch_credentials(
        Wallet(proxy=account.proxy, private_key=account.private_key)
    )
    return await clob.fetch_trades(
        credentials, maker_address=account.proxy, since=datetime.fromtimestamp(0, UTC)
    )


def _intents(
    intents: set[str], orders: Sequence[Any], told: Sequence[Mapping[str, Any]]
) -> Iterator[Found]:
    """One order per intent, in our books and at the venue."""
    if lost := intents - {order.intent_id for order in orders}:
        yield Found(finding=Finding.LOST, text=f"intents without an order: {sorted(lost)}")
    ours = {order.order_hash.lower(): order for order in orders}
    filled = Counter[str]()
    for row in told:
        filled[row["taker_order_id"].lower()] += (
            micros(Decimal(row["size"]))
            if row["status"].removeprefix("TRADE_STATUS_") != "FAILED"
            else 0
        )
    if unknown := filled.keys() - ours.keys():
        yield Found(
            finding=Finding.DOUBLED,
            text=f"{len(filled)} orders at the venue for {len(intents)} intents; not ours: {sorted(unknown)}",
        )
    for order_hash in filled.keys() & ours.keys():
        order, shares = ours[order_hash], filled[order_hash]
        if abs(order.shares - shares) > DUST:
            text = f"order {order_hash} has {shares} micro-shares at the venue, {order.shares} in our books ({order.state})"
            yield Found(finding=Finding.LOST, text=text)


async def _books(story: Story, account: Account) -> list[Found]:
    """Positions and cash, to the last base unit the chain's; and what the day's cap says, by the
    intents that it was used for.
    """
    wallet = await story.chain.fetch_balances(account.proxy, [int(token) for token in story.tokens])
    held = await story.fetch_rows(
        "select * from executor.positions where proxy = :proxy", proxy=account.proxy
    )
    caps = await story.fetch_rows(CAPS, proxy=account.proxy)
    compared = {
        "shares": (
            {row.token_id: row.shares for row in held if row.shares},
            {str(token): shares for token, shares in wallet.shares_by_token.items() if shares},
        ),
        "micro-USDC": (INITIAL_USDC + sum(row.cash_usdc for row in held), wallet.collateral),
        "of its cap used": (
            {row.day: row.spent_usdc for row in caps},
            {row.day: row.of_intents for row in caps},
        ),
    }
    return [
        Found(
            finding=Finding.BOOKS,
            text=f"{account.proxy}, {what}: {ours} in our books, really {really}",
        )
        for what, (ours, really) in compared.items()
        if ours != really
    ]


async def _outcomes(story: Story, intents: Intents, outcome: OrderState) -> list[Found]:
    orders = await story.fetch_rows(
        "select * from executor.orders where intent_id = any(:ids)", ids=list(intents.values())
    )
    return [
        Found(
            finding=Finding.LOST,
            text=f"the copy of {order.intent_id} ended as {order.state} ({order.reason}), not as {outcome}",
        )
        for order in orders
        if order.state != outcome
    ]
