"""What must be true of the recorded copies at every rest, and what once everything has settled."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.decisions import Limits
from shared.db.engine import autocommit, fetch_rows
from shared.domain.follows import Follow
from shared.domain.money import (
    MIN_BUY_USDC,
    MIN_REMAINDER_SHARES,
    ROUNDING_TOLERANCE_SHARES,
    Side,
    cost_ceiling,
    cost_floor,
)
from shared.domain.terms import ExitMode
from shared.messages.intents import CopyCause, Intent, IntentApproved, IntentRefused
from tests.integration.properties.facts import (
    Facts,
    Filled,
    Position,
    filled_by_intent,
    highest_sum,
    hour,
    position_by_follow,
)
from tests.integration.properties.modelled_chain import ModelledChain
from tests.integration.properties.modelled_leaders import LeaderTrade, ModelledLeaders
from tests.integration.properties.modelled_venue import ModelledVenue
from tests.orders import MISTAKEN_OPEN_ORDERS
from tests.reservations import WRONG_RESERVATION_SUMS

CAP_RESERVED = "another copy reserved of a daily cap meanwhile"
CAP_WINDOW = timedelta(hours=24)
RECONCILE_AFTER = timedelta(minutes=1)
"""As the pipeline is set."""
RATE_WINDOW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Records:
    """What the services have recorded."""

    intents: Mapping[str, Any]
    spending: Mapping[tuple[str, str], int]
    """Micro-USDC by scope and UTC hour."""
    positions: Mapping[Position, int]
    exits: Sequence[Any]
    delayed_entries: Sequence[Any]
    mistaken_open_orders: Sequence[Any]
    wrong_reservation_sums: Sequence[Any]

    @property
    def has_open_copies(self) -> bool:
        return (
            any(row.settled_at is None for row in self.intents.values())
            or any(row.state == "open" for row in self.exits)
            or bool(self.delayed_entries)
        )


LOAD_SPENDING = """
select scope, spent.key as hour, spent.value::bigint as usdc
from preflight.spending_windows, jsonb_each_text(usdc_by_hour) as spent
"""


async def load_records(engine: AsyncEngine) -> Records:
    async with autocommit(engine) as connection:
        intents = await fetch_rows(connection, "select * from preflight.intents")
        spending = await fetch_rows(connection, LOAD_SPENDING)
        positions = await fetch_rows(connection, "select * from preflight.positions")
        exits = await fetch_rows(connection, "select * from preflight.exits")
        delayed = await fetch_rows(connection, "select * from preflight.delayed_entries")
        mistaken = await fetch_rows(connection, MISTAKEN_OPEN_ORDERS)
        wrong_sums = await fetch_rows(connection, WRONG_RESERVATION_SUMS)
    return Records(
        intents={row.intent_id: row for row in intents},
        spending={(row.scope, row.hour): row.usdc for row in spending},
        positions={(row.follow_id, row.token_id): row.shares for row in positions},
        exits=exits,
        delayed_entries=delayed,
        mistaken_open_orders=mistaken,
        wrong_reservation_sums=wrong_sums,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariants:
    follows: Mapping[str, Follow]
    limits: Limits
    facts: Facts
    chain: ModelledChain
    leaders: ModelledLeaders
    venue: ModelledVenue
    reached: Counter[str]
    """How often something was there to be checked."""

    def check_safety(self, records: Records) -> None:
        """What is true at any time."""
        assert not self.facts.contradictions, self.facts.contradictions[0]
        assert not records.mistaken_open_orders, records.mistaken_open_orders
        assert not records.wrong_reservation_sums, records.wrong_reservation_sums
        filled = filled_by_intent(self.venue.trades)
        self._check_one_order_per_intent()
        self._check_final_orders(records, filled)
        self._check_caps(filled)
        self._check_rates(records)
        self._check_exits_sell_what_was_bought(filled)
        self._check_positions(records, filled)
        self._check_intended_money()
        self._check_proportions(filled, records)
        self._check_levels_are_waited_for()

    def check_settled(self, records: Records) -> None:
        """What is true once all rows were reported, and all orders and exits have ended."""
        self._check_nothing_is_open(records)
        self._check_spending(records)
        self._check_trades_are_copied_whole()
        self._check_followers_are_out(records)

    def count_reached(self, records: Records, journal: Sequence[str]) -> None:
        self.reached["cap reserved meanwhile"] += sum(CAP_RESERVED in line for line in journal)
        for verdict in self.facts.verdicts.values():
            name = verdict.reason if isinstance(verdict, IntentRefused) else "approved"
            self.reached[f"{verdict.intent.side} {name}"] += 1
        for row in records.exits:
            self.reached[f"exit {row.state}"] += 1
        for intent in self.facts.intents.values():
            if intent.cause is not CopyCause.TRADE and not intent.continues:
                self.reached[f"exit by level: {intent.cause}"] += 1
        for report in self.facts.final_reports.values():
            self.reached[f"order {report.state}"] += 1

    def _check_one_order_per_intent(self) -> None:
        approved = {each.intent_id for each in self.facts.approved()}
        for intent_id, bodies in self.venue.posted.items():
            assert len(set(bodies)) == 1, f"two orders were made of intent {intent_id}"
            assert intent_id in approved, f"intent {intent_id} was ordered without an approval"

    def _check_final_orders(self, records: Records, filled: Mapping[str, Filled]) -> None:
        for intent_id, report in self.facts.final_reports.items():
            actual = filled.get(intent_id, Filled())
            assert (report.shares, report.usdc) == (actual.shares, actual.usdc), (
                f"order of intent {intent_id} was reported as {report.state} with {report.shares} "
                f"micro-shares, and the venue has {actual}"
            )

    def _check_caps(self, filled: Mapping[str, Filled]) -> None:
        """In any 24 hours. Of each entry counts what it may still spend, and at its end what it has
        spent.
        """
        spent_by_scope: dict[str, list[tuple[datetime, int]]] = defaultdict(list)
        caps: dict[str, int | None] = {}
        for verdict in self._approved_entries():
            intent = verdict.intent
            is_final = verdict.intent_id in self.facts.final_reports
            usdc = filled.get(verdict.intent_id, Filled()).usdc if is_final else verdict.usdc
            for scope, cap in (
                (f"follow:{intent.follow_id}", self.follows[intent.follow_id].daily_cap_usdc),
                (f"follower:{intent.proxy}", self.limits.max_follower_daily_usdc),
                (f"token:{intent.token_id}", self.limits.max_market_daily_usdc),
                ("global", self.limits.max_global_daily_usdc),
            ):
                spent_by_scope[scope].append((verdict.occurred_at, usdc))
                caps[scope] = cap
        for scope, spent in spent_by_scope.items():
            cap, used = caps[scope], highest_sum(spent, within=CAP_WINDOW)
            if cap is not None:
                self.reached["cap used by half"] += used * 2 > cap
                assert used <= cap, f"{used} micro-USDC of {scope} within 24 hours are above {cap}"

    def _check_rates(self, records: Records) -> None:
        """Of each follower's entries in any minute."""
        limit = self.limits.max_entries_per_minute
        self.reached["entry delayed"] += len(records.delayed_entries)
        times_by_proxy: dict[str, list[tuple[datetime, int]]] = defaultdict(list)
        for verdict in self._approved_entries():
            times_by_proxy[verdict.intent.proxy].append((verdict.occurred_at, 1))
        for proxy, times in times_by_proxy.items():
            entries = highest_sum(times, within=RATE_WINDOW)
            assert limit is None or entries <= limit, (
                f"{entries} entries of {proxy} within a minute are above {limit}"
            )

    def _approved_entries(self) -> list[IntentApproved]:
        return [each for each in self.facts.approved() if each.intent.side is Side.BUY]

    def _check_exits_sell_what_was_bought(self, filled: Mapping[str, Filled]) -> None:
        bought: Counter[Position] = Counter()
        sold: Counter[Position] = Counter()
        for intent_id, each in filled.items():
            intent = self.facts.intents[intent_id]
            counted = bought if intent.side is Side.BUY else sold
            counted[intent.follow_id, intent.token_id] += each.shares
        for position, shares in sold.items():
            assert shares <= bought[position], (
                f"follow {position[0]} sold {shares} and bought {bought[position]} micro-shares"
            )

    def _check_positions(self, records: Records, filled: Mapping[str, Filled]) -> None:
        settled = [
            intent_id
            for intent_id, row in records.intents.items()
            if row.settled_at is not None and row.state != "refused"
        ]
        expected = position_by_follow(self.facts, dict(filled), settled)
        for position in expected.keys() | records.positions.keys():
            recorded = records.positions.get(position, 0)
            assert recorded == expected.get(position, 0), (
                f"the position {position} is recorded as {recorded} micro-shares, "
                f"and is {expected.get(position, 0)}"
            )
            assert recorded >= 0, f"the position {position} is {recorded} micro-shares"

    def _check_intended_money(self) -> None:
        """Of a follow and token at most what the terms make of the trades as far as they were
        reported, and of a trade at most the maximum: what is below the venue's minimum may be
        carried to a later trade. An intent below that minimum is refused, and counts as not
        intended.
        """
        limits: Counter[Position] = Counter()
        intended: Counter[Position] = Counter()
        for trades in self._trades_to_compare():
            if trades[0].side is Side.SELL:
                continue
            for follow in self._select_follows(trades[0].leader):
                usdc = self._intended_usdc(trades, follow)
                position = (follow.follow_id, trades[0].token_id)
                intended[position] += usdc
                limits[position] += sum(
                    _copies(each) * follow.copy_usdc(_highest_usdc(each)) for each in trades
                )
                most = sum(map(_copies, trades)) * follow.max_usdc
                assert usdc <= most, (
                    f"{usdc} micro-USDC were intended for trades {[t.number for t in trades]} and "
                    f"{follow.follow_id}, which may be {most} at most"
                )
        for position, usdc in intended.items():
            assert usdc <= limits[position], (
                f"{usdc} micro-USDC were intended for {position}, and the terms allow "
                f"{limits[position]} of the leader's trades"
            )

    def _trades_to_compare(self) -> list[list[LeaderTrade]]:
        """Each trade alone; but together those of a leader, token and side of which one was resent:
        what was copied as one of them may be counted as another.
        """
        groups: dict[tuple[str, str, Side], list[LeaderTrade]] = defaultdict(list)
        for trade in self.leaders.trades:
            groups[trade.leader, trade.token_id, trade.side].append(trade)
        return [
            compared
            for group in groups.values()
            for compared in (
                [group] if any(each.is_resent for each in group) else [[each] for each in group]
            )
        ]

    def _intended_usdc(self, trades: Sequence[LeaderTrade], follow: Follow) -> int:
        hashes = {name for each in trades for name in (each.tx_hash, each.settled_hash)}
        sides = {(each.token_id, each.side) for each in trades}
        return sum(
            intent.usdc
            for intent in self.facts.intents.values()
            if intent.follow_id == follow.follow_id
            and intent.transaction_hash in hashes
            and (intent.token_id, intent.side) in sides
            and intent.usdc >= MIN_BUY_USDC
        )

    def _check_nothing_is_open(self, records: Records) -> None:
        unsettled = [row.intent_id for row in records.intents.values() if row.settled_at is None]
        exits = [row.exit_id for row in records.exits if row.state == "open"]
        assert not unsettled, f"money is still reserved for the intents {unsettled}"
        delayed = [row.intent_id for row in records.delayed_entries]
        assert not exits, f"the exits {exits} are still open"
        assert not delayed, f"the entries {delayed} still wait"

    def _check_spending(self, records: Records) -> None:
        """As far as it is recorded: what is older than any window is forgotten."""
        filled = filled_by_intent(self.venue.trades)
        spent: Counter[tuple[str, str]] = Counter()
        for verdict in self._approved_entries():
            usdc = filled.get(verdict.intent_id, Filled()).usdc
            spent[f"follow:{verdict.intent.follow_id}", hour(verdict)] += usdc
        for (scope, on), usdc in records.spending.items():
            if scope.startswith("follow:"):
                assert usdc == spent[scope, on], (
                    f"{usdc} micro-USDC are recorded as spent of {scope} in {on}, and "
                    f"{spent[scope, on]} were"
                )

    def _check_trades_are_copied_whole(self) -> None:
        """Whatever rows reported a trade, in whatever order: the intents add up to its terms, but
        for what is below the venue's minimum.
        """
        for trade, *others in self._trades_to_compare():
            if trade.side is Side.SELL or others or not trade.is_confirmed_whole:
                continue
            for follow in self._select_follows(trade.leader):
                least = follow.copy_usdc(_lowest_usdc(trade)) - MIN_BUY_USDC
                usdc = self._intended_usdc([trade], follow)
                self.reached["trade copied whole"] += 1
                assert usdc > least, (
                    f"{usdc} micro-USDC were intended for trade {trade.number} and "
                    f"{follow.follow_id}, whose terms make more than {least}"
                )

    def _check_followers_are_out(self, records: Records) -> None:
        """However the leader got out, and whatever was reported of it."""
        for leader, token_id in {(each.leader, each.token_id) for each in self.leaders.trades}:
            if self.leaders.held(leader, token_id) > 0:
                continue
            for follow in self._select_follows(leader):
                if follow.exits is not ExitMode.NONE:
                    self._check_is_out(records, follow, token_id)

    def _check_is_out(self, records: Records, follow: Follow, token_id: str) -> None:
        position = (follow.follow_id, token_id)
        exits = [each for each in records.exits if (each.follow_id, each.token_id) == position]
        held = records.positions.get(position, 0)
        self.reached["leader is out"] += 1
        self.reached["leader is out, and the follow had shares"] += bool(exits)
        if held >= MIN_REMAINDER_SHARES:
            self.reached["leader is out, and an exit is unsold"] += 1
            latest = max(exits, key=lambda each: each.updated_at, default=None)
            assert getattr(latest, "state", None) == "unsold", (
                f"the leader {follow.leader} has none of {token_id} left, {follow.follow_id} still "
                f"holds {held} micro-shares, and its latest exit is not unsold"
            )

    def _check_proportions(self, filled: Mapping[str, Filled], records: Records) -> None:
        """Of what a follow bought after a trade of its leader it holds at least the part that the
        leader's later ways out left of his shares, where the feeds told what he held.
        """
        least: dict[Position, Fraction] = defaultdict(Fraction)
        for verdict in self._approved_entries():
            intent, row = verdict.intent, records.intents[verdict.intent_id]
            if row.settled_at is not None:
                left = self.leaders.left_since(
                    intent.leader, intent.token_id, intent.transaction_hash
                )
                bought = filled.get(verdict.intent_id, Filled()).shares
                least[intent.follow_id, intent.token_id] += bought * left
        for (follow_id, token_id), shares in least.items():
            follow = self.follows[follow_id]
            if follow.exits is ExitMode.PROPORTIONAL and self._is_in_order(follow, token_id):
                held = records.positions.get((follow_id, token_id), 0)
                self.reached["proportion of what is held"] += shares > 0
                assert held >= shares - MIN_REMAINDER_SHARES, (
                    f"{follow_id} holds {held} micro-shares of {token_id}, and its leader's ways "
                    f"out leave {int(shares)} of what it bought"
                )

    def _check_levels_are_waited_for(self) -> None:
        """A sale that is only on its way through the feeds is not taken for a lost one."""
        for intent in self.facts.intents.values():
            if intent.cause is not CopyCause.RECONCILED or intent.level is None:
                continue
            left_at = self.chain.first_left_at(
                intent.leader, intent.token_id, after_block=intent.level.base_block_number
            )
            until = intent.filled_at - RECONCILE_AFTER
            assert left_at is None or left_at <= until.timestamp(), (
                f"intent {intent.intent_id} was made before {RECONCILE_AFTER} had passed"
            )

    def _is_in_order(self, follow: Follow, token_id: str) -> bool:
        """Whether the follow's intents were published in the order of the leader's trades, and what
        he held before each sale could be known. A sale that is reported before a purchase, or
        before an earlier sale, finds something else than the leader did.
        """
        key = (follow.leader, token_id)
        trades = [each for each in self.leaders.trades if (each.leader, each.token_id) == key]
        if key in self.leaders.reported_early or any(each.is_resent for each in trades):
            return False
        numbers = {trade.tx_hash: trade.number for trade in trades}
        published = [
            numbers[intent.transaction_hash]
            for intent in self.facts.intents.values()
            if _is_first_attempt(intent, follow, token_id)
        ]
        return published == sorted(published)

    def _select_follows(self, leader: str) -> list[Follow]:
        return [follow for follow in self.follows.values() if follow.leader == leader]


def _copies(trade: LeaderTrade) -> int:
    """How often a trade may be copied at most. One whose settlement was sent again is known under
    two transactions: it is copied as both, where shares of another trade were taken for it.
    """
    return 2 if trade.is_resent else 1


def _highest_usdc(trade: LeaderTrade) -> int:
    """What the trade is worth at most, as far as it was reported."""
    return cost_ceiling(trade.reported_shares(), max(price for _, price in trade.fills))


def _lowest_usdc(trade: LeaderTrade) -> int:
    """What the trade is worth at least, with what is left out because the sources round."""
    left_out = ROUNDING_TOLERANCE_SHARES * len(trade.fills)
    return cost_floor(max(0, trade.shares - left_out), min(price for _, price in trade.fills))


def _is_first_attempt(intent: Intent, follow: Follow, token_id: str) -> bool:
    return (intent.follow_id, intent.token_id, intent.cause, intent.continues) == (
        follow.follow_id,
        token_id,
        CopyCause.TRADE,
        "",
    )
