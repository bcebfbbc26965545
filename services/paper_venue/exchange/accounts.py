"""Tracks what each wallet can still spend, by the venue's own view of the chain.

The view is the last read of the chain plus the matches since then that the read does not contain.
RestingOrder and held orders reserve what they may cost.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.paper_venue.exchange.matching import Match
from services.paper_venue.exchange.orders import Order, Side

UNLIMITED = 1 << 255
"""Allowances from here on are never used up, as ERC-20 tokens treat the maximum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """A wallet's balances and approvals on the chain at the end of a block. Base units."""

    block: int
    collateral: int = 0
    allowances: Mapping[str, int] = field(default_factory=dict)
    """Micro-USDC that each exchange may spend, by its address."""
    shares: Mapping[str, int] = field(default_factory=dict)
    """Micro-shares by token id."""
    approvals: frozenset[str] = frozenset()
    """The exchanges that may transfer shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """How one settlement changes one wallet. Base units, signed."""

    settlement: str
    """The taker's order id, which names the settlement."""
    wallet: str
    exchange: str
    collateral: int
    token_id: str
    shares: int


@dataclass(slots=True)
class Account:
    """One wallet's balances with its pending movements applied, and what its orders reserve.

    ``pending`` holds, by settlement, the movements of matches that no read of the chain is known to
    contain.
    """

    on_chain: Holdings
    pending: dict[str, list[Movement]] = field(default_factory=dict)
    collateral: int = 0
    allowances: dict[str, int] = field(default_factory=dict)
    shares: dict[str, int] = field(default_factory=dict)
    reserved_collateral: int = 0
    reserved_by_exchange: dict[str, int] = field(default_factory=dict)
    """Micro-USDC reserved for orders on each exchange; ``reserved_collateral`` is the sum."""
    reserved_shares: dict[str, int] = field(default_factory=dict)

    def refresh(self, holdings: Holdings) -> None:
        self.on_chain = holdings
        self.collateral, self.allowances, self.shares = (
            holdings.collateral,
            dict(holdings.allowances),
            dict(holdings.shares),
        )
        for movements in self.pending.values():
            for movement in movements:
                self.apply(movement)

    def apply(self, movement: Movement, sign: int = 1) -> None:
        self.collateral += sign * movement.collateral
        allowance = self.allowances.get(movement.exchange, 0)
        if allowance < UNLIMITED and movement.collateral < 0:
            self.allowances[movement.exchange] = allowance + sign * movement.collateral
        self.shares[movement.token_id] = (
            self.shares.get(movement.token_id, 0) + sign * movement.shares
        )

    def spendable(self, *, token_id: str | None, exchange: str) -> int:
        """Micro-USDC (``token_id`` None), or micro-shares of a token, that are not reserved and
        that the exchange may take. Negative: more is reserved than the wallet has.
        """
        if token_id is None:
            allowed = self.allowances.get(exchange, 0) - self.reserved_by_exchange.get(exchange, 0)
            return min(self.collateral - self.reserved_collateral, allowed)
        shares = self.shares.get(token_id, 0) if exchange in self.on_chain.approvals else 0
        return shares - self.reserved_shares.get(token_id, 0)

    def has_funds_for(self, order: Order) -> bool:
        """Whether the wallet still has all that its orders reserve of the asset this one gives."""
        return (
            self.spendable(
                token_id=order.token_id if order.side is Side.SELL else None,
                exchange=order.market.exchange,
            )
            >= 0
        )

    def reserve(self, order: Order, shares: int, sign: int = 1) -> None:
        """Reserve what ``shares`` of an order may cost; ``sign=-1`` releases it again."""
        if order.side is Side.BUY:
            collateral, exchange = sign * collateral_for(order, shares), order.market.exchange
            self.reserved_collateral += collateral
            self.reserved_by_exchange[exchange] = (
                self.reserved_by_exchange.get(exchange, 0) + collateral
            )
        else:
            self.reserved_shares[order.token_id] = (
                self.reserved_shares.get(order.token_id, 0) + sign * shares
            )


class Accounts:
    """The accounts of all wallets that the venue has met, by wallet in lower case."""

    def __init__(self) -> None:
        self._by_wallet: dict[str, Account] = {}

    def get(self, wallet: str) -> Account:
        """The wallet's account; created empty (``on_chain.block`` -1) for an unknown wallet."""
        key = wallet.lower()
        if key not in self._by_wallet:
            self._by_wallet[key] = Account(on_chain=Holdings(block=-1))
        return self._by_wallet[key]

    def by_wallet(self) -> Iterable[tuple[str, Account]]:
        """(wallet in lower case, account) of every wallet."""
        return self._by_wallet.items()

    def refresh(self, wallet: str, holdings: Holdings) -> None:
        """Replace the last read of the chain; pending movements stay applied on top of it.

        A read of an earlier block than the last one is ignored.
        """
        account = self.get(wallet)
        if holdings.block >= account.on_chain.block:
            account.refresh(holdings)

    def add_pending(self, movement: Movement) -> None:
        """Apply a match's movement immediately, before the chain has settled it."""
        account = self.get(movement.wallet)
        account.pending.setdefault(movement.settlement, []).append(movement)
        account.apply(movement)

    def settle(self, wallet: str, settlement: str, *, block: int) -> None:
        """The settlement is mined in ``block``: a read of that block or a later one contains it, so
        its movements are pending no longer.
        """
        account = self.get(wallet)
        for movement in account.pending.pop(settlement, ()):
            if block <= account.on_chain.block:
                account.apply(movement, sign=-1)

    def revert(self, wallet: str, settlement: str) -> None:
        """The settlement failed on the chain: undo its movements."""
        account = self.get(wallet)
        for movement in account.pending.pop(settlement, ()):
            account.apply(movement, sign=-1)


def collateral_for(order: Order, shares: int) -> int:
    """Micro-USDC that ``shares`` of a buying order cost at most."""
    return -(-shares * order.maker_amount // order.taker_amount)


def build_movements(match: Match) -> list[Movement]:
    """The movements of a match, the taker's first, under the taker's order id; empty without
    fills.
    """
    if not match.fills:
        return []
    settlement = match.taker.id
    taker = _movement(
        settlement, match.taker, shares=match.shares, collateral=match.collateral, fee=match.fee
    )
    return [
        taker,
        *(
            _movement(
                settlement, fill.maker, shares=fill.shares, collateral=fill.maker_collateral, fee=0
            )
            for fill in match.fills
        ),
    ]


def _movement(settlement: str, order: Order, *, shares: int, collateral: int, fee: int) -> Movement:
    buys = order.side is Side.BUY
    return Movement(
        settlement=settlement,
        wallet=order.maker,
        exchange=order.market.exchange,
        collateral=(-collateral if buys else collateral) - fee,
        token_id=order.token_id,
        shares=shares if buys else -shares,
    )
