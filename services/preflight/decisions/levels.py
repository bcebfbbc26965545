"""The values of comparing what leaders hold with what is known of them. Pure. Shares are
micro-shares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shared.domain.follows import Follow
from shared.domain.money import Side
from shared.domain.terms import EntryMode
from shared.messages.intents import Intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The recorded level of a leader's token, of one follow. Micro-shares."""

    leader_shares: int
    block_number: int
    accounted_at: datetime
    """When the newest trade was judged that it takes into account."""
    reconciled_through: datetime | None = None
    mirrored_through: datetime | None = None
    sold_all: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedTrade:
    """A slice of a leader's trade whose copy was judged after ``Base.accounted_at``."""

    transaction_hash: str
    leader_token_id: str
    side: Side
    leader_shares: int
    leader_held_shares: int | None
    """Before it, as its copy was sized by; None: not known, or a purchase."""
    judged_at: datetime
    is_missed: bool
    """Whether it was too old to be copied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldToken:
    """A token of which a follow holds shares. Amounts in micro-shares."""

    follow: Follow
    token_id: str
    leader_token_id: str
    """The token that the leader trades where the follow holds this one: of a counter follow the
    complementary one."""
    shares: int
    is_under_way: bool
    """Whether an entry or an exit of the follow in the token is open."""
    base: Base | None
    """None: never compared."""
    trades: Sequence[JudgedTrade] = ()
    """Without a base: the newest that is accounted, and the missed ones since."""
    resumed_at: datetime | None = None
    """When the follow began again that had kept its shares: what was known of the leader before
    says nothing any more. None: it never did."""

    @property
    def key(self) -> tuple[str, str]:
        return self.follow.follow_id, self.token_id

    @property
    def accounted(self) -> tuple[JudgedTrade, ...]:
        """The trades that the follow has dealt with: neither missed sales nor, where it mirrors its
        leader, missed purchases.
        """
        is_mirrored = mirrors(self.follow)
        return tuple(
            trade
            for trade in self.trades
            if not (trade.is_missed and (is_mirrored or trade.side is Side.SELL))
        )


def mirrors(follow: Follow) -> bool:
    """Whether the follow enters by what its leader holds."""
    return follow.active and follow.entries is EntryMode.MIRROR


def with_trades(held: HeldToken, trades: Sequence[JudgedTrade]) -> HeldToken:
    """The token with the trades that were judged since its base. The newest says which token the
    leader trades: where the follow's direction changed since, an older base or trade is of the
    other token and says nothing.
    """
    newest = max(trades, key=lambda trade: trade.judged_at, default=None)
    if newest is None:
        return held
    leader_token_id = newest.leader_token_id
    return replace(
        held,
        leader_token_id=leader_token_id,
        base=held.base if leader_token_id == held.leader_token_id else None,
        trades=tuple(trade for trade in trades if trade.leader_token_id == leader_token_id),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the chain shows at one block."""

    block_number: int
    block_at: datetime
    leader_shares: int
    mined_in: Mapping[str, int | None]
    """The block of each trade's transaction; None: no block has it, or it failed there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingDifference:
    """A difference that some readings have shown, and that is not acted on yet: it may come from a
    trade that is only on its way.
    """

    base_block_number: int
    accounted_at: datetime | None
    """Of the newest accounted trade then: another one begins a new difference."""
    shares: int
    """The smallest amount of these readings: what is missing, or what is not explained."""
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """Nothing is done now."""

    why: str
    """Empty: the follow holds what it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveBase:
    base: Base


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A difference is seen for too short a time to be acted on."""

    pending: PendingDifference
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IntendCopy:
    intent: Intent
    """An exit, or an entry of a follow that mirrors its leader."""


Step = Nothing | MoveBase | Wait | IntendCopy
