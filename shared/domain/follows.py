"""Follows and modes: who copies whom, by which terms, and what may run now."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from shared.domain.money import Side
from shared.domain.prices import BPS
from shared.domain.terms import (
    MAX_TERM_USDC,
    NO_FILTERS,
    EndMode,
    EntryMode,
    Equities,
    ExitMode,
    Filters,
    Tier,
    copy_amount,
    copy_by_tiers,
    copy_share_of_equity,
    require_fixed,
    require_percent,
    require_tiers,
)

GLOBAL = "global"


class FollowCycle(ValueError):
    """Follows that would copy each other's copies without end. The text names the wallets."""


class Mode(StrEnum):
    """What may run. The strictest of the global, the leader's and the follower's mode applies."""

    ACTIVE = "active"
    REDUCING = "reducing"
    """Exits only."""
    CLOSING = "closing"
    """Exits only, and what follows hold is sold."""
    HALTED = "halted"


MODES_BY_STRICTNESS = (Mode.ACTIVE, Mode.REDUCING, Mode.CLOSING, Mode.HALTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """One version of the terms by which ``proxy`` copies ``leader``. Amounts in micro-USDC."""

    follow_id: str
    version: int
    """The version of the controls that made it; versions only grow."""
    leader: str
    proxy: str
    percent: Decimal | None = None
    """Percentage of the leader's trade. Exactly one of this and the next three is given."""
    fixed_usdc: int | None = None
    equity_percent: Decimal | None = None
    """Percentage of the share of the follower's equity that the trade is of the leader's."""
    tiers: tuple[Tier, ...] = ()
    """By the size of the leader's trade, the smallest first."""
    min_usdc: int
    max_usdc: int
    max_slippage_bps: Decimal
    daily_cap_usdc: int
    active: bool = True
    entries: EntryMode = EntryMode.TRADES
    exits: ExitMode = ExitMode.PROPORTIONAL
    at_end: EndMode = EndMode.KEEP
    counter: bool = False
    """Whether the complementary outcome is bought and sold in place of the leader's."""
    filters: Filters = NO_FILTERS

    def __post_init__(self) -> None:
        self._check_size()
        if not 0 <= self.min_usdc <= self.max_usdc <= MAX_TERM_USDC:
            raise ValueError(
                f"the minimum ({self.min_usdc}) must be between 0 and the maximum "
                f"({self.max_usdc}), and that at most {MAX_TERM_USDC}, in micro-USDC"
            )
        if not 0 <= self.max_slippage_bps < BPS:
            raise ValueError(
                f"the slippage must be at least 0 and below {BPS} basis points, "
                f"not {self.max_slippage_bps}"
            )
        if self.entries is EntryMode.MIRROR and (self.counter or self.equity_percent is not None):
            raise ValueError(
                "a follow that mirrors its leader buys what he holds, by a percentage, a fixed "
                "amount or tiers: neither the complementary outcome nor by a share of the equity"
            )
        if not 0 <= self.daily_cap_usdc <= MAX_TERM_USDC:
            raise ValueError(
                f"the daily cap must not be below 0 or above {MAX_TERM_USDC}, "
                f"but is {self.daily_cap_usdc} micro-USDC"
            )

    def _check_size(self) -> None:
        sizes = (self.percent, self.fixed_usdc, self.equity_percent, self.tiers or None)
        if sum(size is not None for size in sizes) != 1:
            raise ValueError(
                "a follow copies either a percentage of the leader's trade, a fixed amount, "
                "a share of the equity or tiers: give exactly one"
            )
        require_percent(self.percent, name="the percentage")
        require_percent(self.equity_percent, name="the percentage of the equity's share")
        require_fixed(self.fixed_usdc, name="the fixed amount")
        if self.tiers:
            require_tiers(self.tiers)

    def copy_usdc(self, leader_usdc: int, *, equities: Equities | None = None) -> int:
        """Return the micro-USDC to copy of a leader's trade of ``leader_usdc`` micro-USDC.

        It is raised to the minimum and limited to the maximum. ``equities``: needed by a follow
        that copies a share of the equity. Raises: ValueError where it needs them and does not know
        them.
        """
        amount = self._size(leader_usdc, equities)
        return min(max(amount, self.min_usdc), self.max_usdc)

    def copies_entry(self, *, is_of_trade: bool) -> bool:
        """Whether the terms copy such an entry: of a trade of the leader, or of his level, which is
        for follows that mirror him.
        """
        if self.entries is EntryMode.TRADES:
            return is_of_trade
        return self.entries is EntryMode.MIRROR

    def _size(self, leader_usdc: int, equities: Equities | None) -> int:
        if self.tiers:
            return copy_by_tiers(leader_usdc, self.tiers)
        if self.equity_percent is not None:
            return copy_share_of_equity(leader_usdc, percent=self.equity_percent, equities=equities)
        return copy_amount(leader_usdc, percent=self.percent, fixed_usdc=self.fixed_usdc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """All follows and modes as of one version."""

    version: int
    follows_by_leader: Mapping[str, Mapping[str, Follow]]
    """The active follows of each leader, by the proxy that copies."""
    mode_by_scope: Mapping[str, Mode]
    ended_by_leader: Mapping[str, Mapping[str, Follow]] = field(default_factory=dict)
    """The same of the follows that ended."""
    version_by_scope: Mapping[str, int] = field(default_factory=dict)
    """The version of the controls that set the scope's mode."""
    resumed_at_by_follow: Mapping[str, datetime] = field(default_factory=dict)
    """When a follow began again that had ended and kept its shares, by its id."""

    def follows_for(self, leader: str, side: Side = Side.BUY) -> tuple[Follow, ...]:
        """The follows that copy the leader's trades of this side: his sales are also copied by
        those that ended and still follow him out.
        """
        active = tuple(self.follows_by_leader.get(leader, {}).values())
        if side is Side.BUY or leader not in self.ended_by_leader:
            return active
        ended = self.ended_by_leader[leader].values()
        return active + tuple(each for each in ended if each.at_end is EndMode.FOLLOW)

    def follow(self, *, leader: str, proxy: str, side: Side = Side.BUY) -> Follow | None:
        """The follow whose copies of this side may be made; None: there is none. A follow that
        ended may still sell, unless it keeps its shares.
        """
        active = self.follows_by_leader.get(leader, {}).get(proxy)
        if active is not None or side is Side.BUY:
            return active
        ended = self.ended_follow(leader=leader, proxy=proxy)
        return ended if ended is not None and ended.at_end is not EndMode.KEEP else None

    def ended_follow(self, *, leader: str, proxy: str) -> Follow | None:
        """The follow that ended, whatever it does with its shares; None: there is none."""
        return self.ended_by_leader.get(leader, {}).get(proxy)

    def leaders(self) -> frozenset[str]:
        """Those of whom anything is copied."""
        followed_out = {
            leader
            for leader, ended in self.ended_by_leader.items()
            if any(each.at_end is EndMode.FOLLOW for each in ended.values())
        }
        return frozenset(self.follows_by_leader) | followed_out

    def followers(self) -> frozenset[str]:
        """The proxies of all follows, also of those that ended: their last orders may still be
        settled.
        """
        return frozenset(
            proxy
            for grouped in (self.follows_by_leader, self.ended_by_leader)
            for group in grouped.values()
            for proxy in group
        )

    def follows_that_sell(self) -> tuple[Follow, ...]:
        """The active follows, and those that ended and do not keep their shares."""
        return tuple(
            follow
            for grouped in (self.follows_by_leader, self.ended_by_leader)
            for group in grouped.values()
            for follow in group.values()
            if follow.active or follow.at_end is not EndMode.KEEP
        )

    def mode(self, *, leader: str, proxy: str) -> Mode:
        return max(
            (self.mode_by_scope.get(scope, Mode.ACTIVE) for scope in _scopes(leader, proxy)),
            key=MODES_BY_STRICTNESS.index,
        )

    def closing_version(self, *, leader: str, proxy: str) -> int:
        """The newest version of the controls that set one of their scopes to closing, of the modes
        that apply now; 0: none is closing.
        """
        closing = (
            self.version_by_scope.get(scope, 0)
            for scope in _scopes(leader, proxy)
            if self.mode_by_scope.get(scope) is Mode.CLOSING
        )
        return max(closing, default=0)


def _scopes(leader: str, proxy: str) -> tuple[str, str, str]:
    return GLOBAL, leader_scope(leader), follower_scope(proxy)


def leader_scope(leader: str) -> str:
    return f"leader:{leader}"


def follower_scope(proxy: str) -> str:
    return f"follower:{proxy}"


def may_trade(mode: Mode, side: Side) -> bool:
    """Whether an order of this side may be made; while reducing or closing, only an exit may."""
    return mode is Mode.ACTIVE or (mode is not Mode.HALTED and side is Side.SELL)


def is_closed_out(follow: Follow, mode: Mode) -> bool:
    """Whether the follow is to sell all that it holds."""
    return mode is Mode.CLOSING or (not follow.active and follow.at_end is EndMode.CLOSE_OUT)


def group_by_leader(
    follows: Iterable[Follow], *, active: bool = True
) -> Mapping[str, Mapping[str, Follow]]:
    """Group the active follows, or those that ended, by leader and then by proxy, in the given
    order.
    """
    grouped: dict[str, dict[str, Follow]] = {}
    for follow in follows:
        if follow.active is active:
            grouped.setdefault(follow.leader, {})[follow.proxy] = follow
    return grouped


def require_no_cycle(follows: Iterable[Follow], *, added: Iterable[Follow]) -> None:
    """Check that none of the ``added`` follows closes a cycle of active follows.

    ``follows``: all of them, with the added ones. Raises: FollowCycle, which names the cycle.
    """
    proxies_by_leader: dict[str, list[str]] = {}
    for follow in follows:
        if follow.active:
            proxies_by_leader.setdefault(follow.leader.lower(), []).append(follow.proxy)
    for follow in added:
        path = _find_path(proxies_by_leader, follow.proxy, follow.leader) if follow.active else None
        if path is not None:
            raise FollowCycle(
                f"{follow.proxy} cannot follow {follow.leader}: each copy would be copied again, "
                f"{' -> '.join([follow.leader, *path])}"
            )


def _find_path(
    proxies_by_leader: Mapping[str, Iterable[str]], start: str, end: str
) -> list[str] | None:
    """The wallets from ``start`` to ``end``, both included, each copying the one before it; None
    where there is no such path. Shortest first.
    """
    reached, paths = {start.lower()}, deque([[start]])
    while paths:
        path = paths.popleft()
        if path[-1].lower() == end.lower():
            return path
        for proxy in proxies_by_leader.get(path[-1].lower(), ()):
            if proxy.lower() not in reached:
                reached.add(proxy.lower())
                paths.append([*path, proxy])
    return None
