"""Whatever a pool is sent, it keeps its rules."""

from hypothesis import given
from hypothesis import strategies as st

from services.paper_venue.polygon_node.packing import pick_transactions
from services.paper_venue.polygon_node.pool import AccountState, Pool
from services.paper_venue.polygon_node.refusals import Refused
from services.paper_venue.polygon_node.transactions import Transaction
from tests.signed_transactions import GWEI, POL, a_transaction

SENDERS = ("0xA", "0xB")
BLOCK_GAS = 100_000
TIP_FLOOR = 25 * GWEI

transactions = st.builds(
    a_transaction,
    st.integers(0, 30),
    sender=st.sampled_from(SENDERS),
    max_fee=st.integers(20, 120),
    tip=st.integers(20, 60),
    value=st.sampled_from([0, POL]),
)
steps = st.lists(st.one_of(transactions, st.integers(0, 3)), max_size=40)
"""A transaction is sent; a number moves on the next nonce of the first account by so much."""


class Played:
    """A pool after some steps."""

    def __init__(self) -> None:
        self.pool = Pool()
        self.accounts = {each: AccountState(nonce=0, balance=20 * POL) for each in SENDERS}
        self.replaced: list[tuple[Transaction, Transaction]] = []

    def play(self, step: Transaction | int) -> None:
        if isinstance(step, int):
            before = self.accounts["0xA"]
            self.accounts["0xA"] = AccountState(nonce=before.nonce + step, balance=before.balance)
            self.pool.settle(self.accounts, now_s=0)
            return
        try:
            old = self.pool.add(
                step, self.accounts[step.sender], block_gas=BLOCK_GAS * 100, now_s=0
            )
        except Refused:
            return
        if old is not None:
            self.replaced.append((old, step))

    def pick(self, base_fee: int) -> list[Transaction]:
        return pick_transactions(
            [self.pool.list_pending(each, self.accounts[each].nonce) for each in SENDERS],
            base_fee=base_fee,
            tip_floor=TIP_FLOOR,
            block_gas=BLOCK_GAS,
            is_held=lambda each: each.value == POL,
        )


def play(given_steps: list[Transaction | int]) -> Played:
    played = Played()
    for each in given_steps:
        played.play(each)
    return played


@given(steps)
def test_no_two_transactions_have_the_same_nonce(given_steps: list[Transaction | int]) -> None:
    played = play(given_steps)

    for sender in SENDERS:
        nonces = [each.transaction.nonce for each in played.pool.list_pooled(sender)]
        assert len(nonces) == len(set(nonces))
        assert all(nonce >= played.accounts[sender].nonce for nonce in nonces)


@given(steps)
def test_what_it_finds_is_what_it_lists(given_steps: list[Transaction | int]) -> None:
    pool = play(given_steps).pool

    listed = [each.transaction for sender in SENDERS for each in pool.list_pooled(sender)]

    assert all(pool.find(each.hash) is each for each in listed)
    assert all(pool.drop(each.hash) is each for each in listed)
    assert pool.senders == []


@given(steps)
def test_an_accepted_replacement_raises_both_fees_by_a_tenth(
    given_steps: list[Transaction | int],
) -> None:
    for old, new in play(given_steps).replaced:
        assert new.max_fee * 10 >= old.max_fee * 11 - 10
        assert new.tip * 10 >= old.tip * 11 - 10
        assert new.max_fee > old.max_fee
        assert new.tip > old.tip


@given(steps)
def test_limits_hold_and_what_is_pooled_can_be_paid(given_steps: list[Transaction | int]) -> None:
    played = play(given_steps)

    for sender, account in played.accounts.items():
        assert len(played.pool.list_pending(sender, account.nonce)) <= 16
        assert len(played.pool.list_queued(sender, account.nonce)) <= 64
        pooled = played.pool.list_pooled(sender)
        assert sum(each.transaction.cost for each in pooled) <= account.balance


@given(steps, st.integers(0, 80))
def test_a_block_has_no_gap_nothing_held_and_nothing_that_pays_too_little(
    given_steps: list[Transaction | int], base_fee_gwei: int
) -> None:
    played = play(given_steps)
    base_fee = base_fee_gwei * GWEI

    picked = played.pick(base_fee)

    for sender, account in played.accounts.items():
        nonces = [each.nonce for each in picked if each.sender == sender]
        assert nonces == list(range(account.nonce, account.nonce + len(nonces)))
    assert sum(each.gas for each in picked) <= BLOCK_GAS
    assert all(each.max_fee >= base_fee + TIP_FLOOR for each in picked)
    assert all(each.value == 0 for each in picked)
