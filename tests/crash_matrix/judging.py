"""Finds copies that a cell lost or doubled: our records, the venue and the chain must agree."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from shared.clock import utc_now
from shared.domain.money import ROUNDING_TOLERANCE_SHARES, micros
from shared.messages.orders import FINAL_STATES, OrderState
from shared.polymarket.clob import Clob
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Wallet
from tests.crash_matrix.cells import Finding
from tests.orders import MISTAKEN_OPEN_ORDERS
from tests.system.deployment import INITIAL_USDC
from tests.system.story import Story
from tools.pipeline.venue import Account

CAPS = """
select spent.key as hour, spent.value::bigint as spent_usdc, sum(i.cap_usdc) as of_intents
from preflight.spending_windows w, jsonb_each_text(w.usdc_by_hour) as spent, preflight.intents i
where w.scope = 'follower:' || i.proxy and i.proxy = :proxy and i.side = 'BUY'
  and to_char(i.judged_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24') = spent.key
group by spent.key, spent.value
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    finding: Finding
    text: str

    def __str__(self) -> str:
        return f"{self.finding}: {self.text}"


IntentByProxy = Mapping[str, str]
"""The intent that is to be copied for each follower, by proxy."""


async def is_final(story: Story, intents: IntentByProxy) -> bool:
    """Whether every copy is over: its order, its settlement on the chain, its reservation."""
    ids = list(intents.values())
    orders = await story.fetch_rows(
        "select * from executor.orders_with_states where intent_id = any(:ids)", ids=ids
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


async def judge(
    story: Story, intended: Sequence[IntentByProxy], *, expected_outcome: OrderState
) -> list[Problem]:
    """The problems in all copies of the follow group so far. ``intended``: the intents of each of
    the leader's trades; the copies of the last one must have ended with ``expected_outcome``.
    """
    problems: list[Problem] = []
    venue = VenueSettings.model_validate({"clob_url": story.deployment.pipeline.urls["clob"]})
    async with Clob(venue, now=utc_now) as clob:
        for account in story.group.followers:
            intents = {each[account.proxy] for each in intended}
            orders = await story.fetch_rows(
                "select * from executor.orders_with_states where proxy = :proxy",
                proxy=account.proxy,
            )
            trades = await _fetch_trades(clob, account)
            problems += _check_orders(intents, orders, trades)
            problems += await _check_records(story, account)
    problems += await _check_outcomes(story, intended[-1], expected_outcome)
    problems += [
        Problem(finding=Finding.RECORDS, text=f"{row.intent_id} is open, or not: {row.state}")
        for row in await story.fetch_rows(MISTAKEN_OPEN_ORDERS)
    ]
    return problems


async def fetch_trades_at_venue(story: Story, account: Account) -> list[Mapping[str, Any]]:
    venue = VenueSettings.model_validate({"clob_url": story.deployment.pipeline.urls["clob"]})
    async with Clob(venue, now=utc_now) as clob:
        return await _fetch_trades(clob, account)


async def _fetch_trades(clob: Clob, account: Account) -> list[Mapping[str, Any]]:
    credentials = await clob.fetch_credentials(
        Wallet(proxy=account.proxy, private_key=account.private_key)
    )
    return await clob.fetch_trades(
        credentials, maker_address=account.proxy, since=datetime.fromtimestamp(0, UTC)
    )


def _check_orders(
    intents: set[str], orders: Sequence[Any], trades: Sequence[Mapping[str, Any]]
) -> Iterator[Problem]:
    """There is one order per intent, in our records and at the venue, with the same shares."""
    if lost := intents - {order.intent_id for order in orders}:
        yield Problem(finding=Finding.LOST, text=f"intents without an order: {sorted(lost)}")
    ours = {order.order_hash.lower(): order for order in orders}
    filled = Counter[str]()
    for row in trades:
        filled[row["taker_order_id"].lower()] += (
            micros(Decimal(row["size"]))
            if row["status"].removeprefix("TRADE_STATUS_") != "FAILED"
            else 0
        )
    if unknown := filled.keys() - ours.keys():
        yield Problem(
            finding=Finding.DOUBLED,
            text=f"{len(filled)} orders at the venue for {len(intents)} intents; "
            f"not recorded: {sorted(unknown)}",
        )
    for order_hash in filled.keys() & ours.keys():
        order, shares = ours[order_hash], filled[order_hash]
        if abs(order.shares - shares) > ROUNDING_TOLERANCE_SHARES:
            yield Problem(
                finding=Finding.LOST,
                text=f"order {order_hash} has {shares} micro-shares at the venue, "
                f"{order.shares} in our records ({order.state})",
            )


async def _check_records(story: Story, account: Account) -> list[Problem]:
    """Positions and cash equal the chain's, to the last base unit; the used part of the daily cap
    equals the sum over the intents that used it.
    """
    wallet = await story.chain.fetch_balances(account.proxy, [int(token) for token in story.tokens])
    positions = await story.fetch_rows(
        "select * from executor.positions where proxy = :proxy", proxy=account.proxy
    )
    caps = await story.fetch_rows(CAPS, proxy=account.proxy)
    compared = {
        "shares": (
            {row.token_id: row.shares for row in positions if row.shares},
            {str(token): shares for token, shares in wallet.shares_by_token.items() if shares},
        ),
        "micro-USDC": (INITIAL_USDC + sum(row.cash_usdc for row in positions), wallet.collateral),
        "of its cap used": (
            {row.hour: row.spent_usdc for row in caps},
            {row.hour: row.of_intents for row in caps},
        ),
    }
    return [
        Problem(
            finding=Finding.RECORDS,
            text=f"{account.proxy}, {what}: {recorded} in our records, really {actual}",
        )
        for what, (recorded, actual) in compared.items()
        if recorded != actual
    ]


async def _check_outcomes(
    story: Story, intents: IntentByProxy, expected: OrderState
) -> list[Problem]:
    orders = await story.fetch_rows(
        "select * from executor.orders_with_states where intent_id = any(:ids)",
        ids=list(intents.values()),
    )
    return [
        Problem(
            finding=Finding.LOST,
            text=f"the copy of {order.intent_id} ended as {order.state} ({order.reason}), "
            f"not as {expected}",
        )
        for order in orders
        if order.state != expected
    ]
