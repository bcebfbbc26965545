"""Leaders as the model has them: their trades, and the rows by which three sources report these."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from shared.domain.ids import derived_id
from shared.domain.money import Side
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.integration.properties.modelled_chain import ModelledChain

SHIFT = Decimal("0.0000000012")
"""By which a price of one type of the socket differs from that of the other."""

VIEWS = (
    (FillSource.RTDS, "orders_matched"),
    (FillSource.RTDS, "trades"),
    (FillSource.CHAIN, ""),
    (FillSource.DATA, ""),
)


@dataclass
class LeaderTrade:
    number: int
    """In the order in which the leaders made them."""
    leader: str
    token_id: str
    side: Side
    fills: tuple[tuple[int, Decimal], ...]
    """Micro-shares and price."""
    matched_at: datetime
    mined_at: datetime | None = None
    is_resent: bool = False
    """Its settlement failed, and was sent again under another transaction."""
    reported: set[tuple[FillSource, str, int]] = field(default_factory=set)
    """View and number of the fill."""

    @property
    def tx_hash(self) -> str:
        return "0x" + derived_id("leader's transaction", self.number) * 2

    @property
    def settled_hash(self) -> str:
        if not self.is_resent:
            return self.tx_hash
        return "0x" + derived_id("leader's second transaction", self.number) * 2

    @property
    def shares(self) -> int:
        return sum(shares for shares, _ in self.fills)

    @property
    def change(self) -> int:
        return self.shares if self.side is Side.BUY else -self.shares

    def row(
        self, source: FillSource, row_type: str, number: int, *, now: datetime
    ) -> LeaderFillSeen | None:
        """How the source reports one of the fills now; None: it does not know of the trade yet."""
        shares, price = self.fills[number]
        if source is not FillSource.RTDS and self.mined_at is None:
            return None
        if row_type == "trades":
            price += SHIFT
        filled_at, tx_hash = (
            (self.matched_at, self.tx_hash)
            if source is FillSource.RTDS
            else (self.mined_at, self.settled_hash)
        )
        row_id = (
            derived_id("rtds", shares, price.quantize(Decimal("0.000001")))
            if source is FillSource.RTDS
            else f"{source}:{number}"
        )
        return LeaderFillSeen(
            message_id=derived_id("fill", tx_hash, source, row_id, row_type),
            occurred_at=now,
            leader=self.leader,
            transaction_hash=tx_hash,
            token_id=self.token_id,
            side=self.side,
            shares=shares,
            price=price,
            source=source,
            row_id=row_id,
            row_type=row_type,
            filled_at=filled_at,
        )

    def reported_shares(self) -> int:
        """What the view that has reported most of it has reported."""
        return max(
            (
                sum(self.fills[n][0] for (s, t, n) in self.reported if (s, t) == view)
                for view in VIEWS
            ),
            default=0,
        )

    @property
    def is_confirmed_whole(self) -> bool:
        """Whether all of it was reported by one source that reports what is in a block."""
        return any(
            all((source, "", n) in self.reported for n in range(len(self.fills)))
            for source in (FillSource.CHAIN, FillSource.DATA)
        )


@dataclass(frozen=True, slots=True)
class Change:
    """Of what a leader holds. Micro-shares."""

    leader: str
    token_id: str
    shares: int
    held_before: int
    tx_hash: str
    """Empty: by no trade."""

    @property
    def left(self) -> Fraction:
        """The part of what he held before that he holds after it."""
        if self.shares >= 0 or self.held_before <= 0:
            return Fraction(1)
        return Fraction(max(0, self.held_before + self.shares), self.held_before)


class ModelledLeaders:
    def __init__(self, chain: ModelledChain) -> None:
        self._chain = chain
        self.trades: list[LeaderTrade] = []
        self.changes: list[Change] = []
        """In the order in which they were made."""
        self.reported_early: set[tuple[str, str]] = set()
        """Leaders and tokens of which a sale was reported before an earlier trade, and neither was
        in a block: what the leader held then could not be known."""

    def held(self, leader: str, token_id: str) -> int:
        """Micro-shares, with the trades that are in no block yet."""
        return self._chain.balance(leader, token_id) + sum(
            each.change
            for each in self.trades
            if (each.leader, each.token_id) == (leader, token_id) and each.mined_at is None
        )

    def make_trade(self, trade: LeaderTrade) -> None:
        self._add_change(trade.leader, trade.token_id, trade.change, trade.tx_hash)
        self.trades.append(trade)

    def note_report(self, trade: LeaderTrade) -> None:
        """A row of the trade is about to be reported."""
        is_early = (
            trade.side is Side.SELL
            and trade.mined_at is None
            and any(
                (each.leader, each.token_id) == (trade.leader, trade.token_id)
                and each.number < trade.number
                and each.mined_at is None
                and each.reported_shares() < each.shares
                for each in self.trades
            )
        )
        if is_early:
            self.reported_early.add((trade.leader, trade.token_id))

    def left_since(self, leader: str, token_id: str, tx_hash: str) -> Fraction:
        """The part that the leader's later sales and other ways out leave of what he held after
        the trade.
        """
        left = Fraction(1)
        for each in reversed(self.changes):
            if (each.leader, each.token_id) != (leader, token_id):
                continue
            if each.tx_hash == tx_hash:
                break
            left *= each.left
        return left

    def mine_all(self, now: datetime, *, resent: bool = False) -> None:
        for trade in self.trades:
            if trade.mined_at is None:
                trade.mined_at, trade.is_resent = now.replace(microsecond=0), resent
                self._chain.mine(trade.leader, trade.token_id, trade.change, trade.settled_hash)

    def move_out(self, leader: str, token_id: str, shares: int) -> None:
        """Shares leave by a merge or a transfer: no feed reports a trade."""
        self._add_change(leader, token_id, -shares, "")
        self._chain.mine(leader, token_id, -shares, f"moved {len(self.changes)}")

    def _add_change(self, leader: str, token_id: str, shares: int, tx_hash: str) -> None:
        held = self.held(leader, token_id)
        self.changes.append(Change(leader, token_id, shares, held, tx_hash))
