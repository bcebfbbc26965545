"""The transaction pool: what bor accepts, keeps, replaces and forgets. Pure.

The rules are those of go-ethereum's core/txpool/validation.go and core/txpool/legacypool, with
bor's parameters (BorDefaultTxPoolPriceLimit and the pool's defaults). Two of them are stricter here
than in a pool with free room:

* go-ethereum guarantees an account 16 executable transactions, and takes more from it only while
  the pool as a whole has room. This pool never has: the next one is refused as by a full pool.
* beyond 64 queued transactions of an account, the one with the highest nonce leaves the pool, and
  nobody is told: its sender has got its hash. That is what go-ethereum does, full or not.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from services.paper_venue.polygon_node import refusals
from services.paper_venue.polygon_node.refusals import Refused
from services.paper_venue.polygon_node.transactions import Transaction

GWEI = 10**9
BUMP_PERCENT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """The parameters of a pool; the defaults are bor's."""

    chain_id: int = 137
    tip_floor: int = 25 * GWEI
    """In wei per gas; also what a producer must earn."""
    tip_floor_text: str = refusals.BELOW_TIP_FLOOR
    """``refusals.OLDER_BELOW_TIP_FLOOR``: the text of older nodes."""
    pending_per_account: int = 16
    queued_per_account: int = 64
    queued_lifetime_s: int = 3 * 60 * 60
    """By the clock of the chain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """An account as of the head."""

    nonce: int
    """The next one that can be mined."""
    balance: int
    """In wei."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """A transaction in the pool."""

    transaction: Transaction
    arrival: int
    """Its place in the order in which they came."""


class Pool:
    """The transactions that are in no block, at most one for each account and nonce.

    Of an account, those without a gap from its next nonce on are pending, the others are queued.
    """

    def __init__(self, limits: PoolLimits | None = None) -> None:
        self.limits = limits or PoolLimits()
        self._pooled: dict[str, dict[int, Pooled]] = {}
        """By sender and nonce."""
        self._by_hash: dict[str, Transaction] = {}
        self._active_at_s: dict[str, int] = {}
        """When an account last got a transaction into the pool."""
        self._arrivals = 0

    @property
    def senders(self) -> list[str]:
        return list(self._pooled)

    def find(self, tx_hash: str) -> Transaction | None:
        return self._by_hash.get(tx_hash.lower())

    def list_pooled(self, sender: str) -> list[Pooled]:
        """All of an account, by nonce."""
        return [each for _, each in sorted(self._pooled.get(sender, {}).items())]

    def list_pending(self, sender: str, nonce: int) -> list[Pooled]:
        """Those that can be mined one after another, of an account whose next nonce this is."""
        pooled = self._pooled.get(sender, {})
        last = nonce + self.limits.pending_per_account
        pending = []
        while nonce in pooled and nonce < last:
            pending.append(pooled[nonce])
            nonce += 1
        return pending

    def list_queued(self, sender: str, nonce: int) -> list[Pooled]:
        """Those that wait behind a gap, or for room."""
        first = nonce + len(self.list_pending(sender, nonce))
        return [each for each in self.list_pooled(sender) if each.transaction.nonce >= first]

    def add(
        self, transaction: Transaction, account: AccountState, *, block_gas: int, now_s: int
    ) -> Transaction | None:
        """Take a transaction in; returns the one that it replaced. ``account``: its sender's.

        Its max fee may be below the base fee: it is kept until it can be mined.
        Raises: Refused.
        """
        if self.find(transaction.hash) is not None:
            raise Refused(refusals.ALREADY_KNOWN)
        self._require_valid(transaction, block_gas=block_gas)
        self._require_payable(transaction, account)
        replaced = self._pooled.get(transaction.sender, {}).get(transaction.nonce)
        if replaced is None:
            self._require_room(transaction, account)
        elif not is_replacement(transaction, replaced.transaction):
            raise Refused(refusals.REPLACEMENT_UNDERPRICED)
        self._put(transaction, now_s=now_s)
        self._cut_queue(transaction.sender, account.nonce)
        return None if replaced is None else replaced.transaction

    def restore(
        self,
        transactions: Iterable[Transaction],
        accounts: Mapping[str, AccountState],
        *,
        now_s: int,
    ) -> list[Transaction]:
        """Put back what a reorg has un-mined, where the new branch has left the nonce free; returns
        those that were. ``accounts``: their senders, as of the new branch.
        """
        restored = []
        for each in transactions:
            is_free = each.nonce not in self._pooled.get(each.sender, {})
            if is_free and each.nonce >= accounts[each.sender].nonce:
                self._put(each, now_s=now_s)
                restored.append(each)
        return restored

    def drop(self, tx_hash: str) -> Transaction | None:
        """Forget a transaction; None: it was not there. Those behind it are queued from then on."""
        transaction = self.find(tx_hash)
        if transaction is not None:
            self._remove(transaction)
        return transaction

    def settle(self, accounts: Mapping[str, AccountState], *, now_s: int) -> list[Transaction]:
        """Forget what cannot be mined any more as of a new head; returns that.

        It is mined, or another with its nonce is, or its sender cannot pay it, or it was queued for
        too long. ``accounts``: all that have transactions in the pool.
        """
        gone: list[Transaction] = []
        for sender in self.senders:
            gone += self._find_gone(sender, accounts[sender], now_s=now_s)
        for each in gone:
            self._remove(each)
        return gone

    def _find_gone(
        self, sender: str, account: AccountState, *, now_s: int
    ) -> Iterator[Transaction]:
        is_old = now_s - self._active_at_s[sender] > self.limits.queued_lifetime_s
        queued = {each.transaction.nonce for each in self.list_queued(sender, account.nonce)}
        for each in self.list_pooled(sender):
            nonce = each.transaction.nonce
            is_passed, is_expired = nonce < account.nonce, is_old and nonce in queued
            if is_passed or is_expired or each.transaction.cost > account.balance:
                yield each.transaction

    def _require_valid(self, transaction: Transaction, *, block_gas: int) -> None:
        """What can be said without knowing the chain's state."""
        limits = self.limits
        if transaction.chain_id is None:
            raise Refused(refusals.UNPROTECTED)
        if transaction.gas > block_gas:
            raise Refused(refusals.EXCEEDS_BLOCK_GAS)
        if transaction.tip > transaction.max_fee:
            raise Refused(refusals.TIP_ABOVE_MAX_FEE)
        if transaction.chain_id != limits.chain_id:
            raise Refused(
                refusals.WRONG_CHAIN.format(given=transaction.chain_id, chain=limits.chain_id)
            )
        for needed, text in (
            (transaction.intrinsic_gas, refusals.INTRINSIC_GAS),
            (transaction.floor_data_gas, refusals.FLOOR_DATA_GAS),
        ):
            if transaction.gas < needed:
                raise Refused(text.format(gas=transaction.gas, needed=needed))
        if transaction.tip < limits.tip_floor:
            raise Refused(limits.tip_floor_text.format(tip=transaction.tip, floor=limits.tip_floor))

    def _require_payable(self, transaction: Transaction, account: AccountState) -> None:
        """The nonce, and the funds for it and for everything that the pool has of its sender."""
        if transaction.nonce < account.nonce:
            raise Refused(
                refusals.NONCE_TOO_LOW.format(next=account.nonce, given=transaction.nonce)
            )
        cost, balance = transaction.cost, account.balance
        if balance < cost:
            raise Refused(
                refusals.TX_COST.format(balance=balance, cost=cost, overshot=cost - balance)
            )
        pooled = self._pooled.get(transaction.sender, {})
        spent = sum(each.transaction.cost for each in pooled.values())
        replaced = pooled.get(transaction.nonce)
        bump = cost - (replaced.transaction.cost if replaced else 0)
        if balance < spent + bump:
            text = refusals.QUEUED_COST if replaced is None else refusals.BUMPED_COST
            overshot = spent + bump - balance
            raise Refused(
                text.format(balance=balance, spent=spent, cost=cost, bump=bump, overshot=overshot)
            )

    def _require_room(self, transaction: Transaction, account: AccountState) -> None:
        pending = self.list_pending(transaction.sender, account.nonce)
        is_next = transaction.nonce == account.nonce + len(pending)
        if is_next and len(pending) >= self.limits.pending_per_account:
            raise Refused(refusals.POOL_FULL)

    def _cut_queue(self, sender: str, nonce: int) -> None:
        for each in self.list_queued(sender, nonce)[self.limits.queued_per_account :]:
            self._remove(each.transaction)

    def _put(self, transaction: Transaction, *, now_s: int) -> None:
        pooled = self._pooled.setdefault(transaction.sender, {})
        replaced = pooled.get(transaction.nonce)
        if replaced is not None:
            del self._by_hash[replaced.transaction.hash]
        self._arrivals += 1
        pooled[transaction.nonce] = Pooled(transaction=transaction, arrival=self._arrivals)
        self._by_hash[transaction.hash] = transaction
        self._active_at_s[transaction.sender] = now_s

    def _remove(self, transaction: Transaction) -> None:
        pooled = self._pooled[transaction.sender]
        del pooled[transaction.nonce], self._by_hash[transaction.hash]
        if not pooled:
            del self._pooled[transaction.sender], self._active_at_s[transaction.sender]


def is_replacement(new: Transaction, old: Transaction) -> bool:
    """Whether the new transaction pays enough to take the old one's place: both fees are higher,
    and by ten percent at least, rounded down as in go-ethereum's legacypool/list.go.
    """
    return _is_raised(new.max_fee, old.max_fee) and _is_raised(new.tip, old.tip)


def _is_raised(new: int, old: int) -> bool:
    return new > old and new >= old * (100 + BUMP_PERCENT) // 100
