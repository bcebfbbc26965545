"""The pool accepts, refuses, keeps and forgets what bor does, with its texts."""

from typing import Any

import pytest

from services.paper_venue.polygon_node import refusals
from services.paper_venue.polygon_node.pool import AccountState, Pool, PoolLimits, is_replacement
from services.paper_venue.polygon_node.refusals import Refused
from services.paper_venue.polygon_node.transactions import Transaction
from tests.signed_transactions import GWEI, POL, a_transaction

BLOCK_GAS = 60_000_000
RICH = AccountState(nonce=0, balance=1_000 * POL)
HOUR_S = 3_600


def add(
    pool: Pool, transaction: Transaction, account: AccountState = RICH, *, now_s: int = 0
) -> Transaction | None:
    return pool.add(transaction, account, block_gas=BLOCK_GAS, now_s=now_s)


def refusal(pool: Pool, transaction: Transaction, account: AccountState = RICH) -> str:
    with pytest.raises(Refused) as refused:
        add(pool, transaction, account)
    assert refused.value.code == -32000
    return refused.value.text


def pending_nonces(pool: Pool, account: AccountState = RICH) -> list[int]:
    return [each.transaction.nonce for each in pool.list_pending("0xA", account.nonce)]


def queued_nonces(pool: Pool, account: AccountState = RICH) -> list[int]:
    return [each.transaction.nonce for each in pool.list_queued("0xA", account.nonce)]


def test_a_tip_below_the_floor_is_refused() -> None:
    assert refusal(Pool(), a_transaction(tip=24)) == (
        "transaction gas price below minimum: gas tip cap 24000000000, minimum needed 25000000000"
    )


def test_older_nodes_call_it_underpriced() -> None:
    older = Pool(PoolLimits(tip_floor_text=refusals.OLDER_BELOW_TIP_FLOOR))

    assert refusal(older, a_transaction(tip=24)) == (
        "transaction underpriced: gas tip cap 24000000000, minimum needed 25000000000"
    )


def test_a_tip_at_the_floor_is_accepted() -> None:
    pool = Pool()

    add(pool, a_transaction(tip=25))

    assert pending_nonces(pool) == [0]


def test_the_same_transaction_again_is_already_known() -> None:
    pool = Pool()
    add(pool, a_transaction())

    assert refusal(pool, a_transaction()) == "already known"


def test_a_mined_nonce_is_too_low() -> None:
    text = refusal(Pool(), a_transaction(4), AccountState(nonce=5, balance=POL))

    assert text == "nonce too low: next nonce 5, tx nonce 4"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"max_fee": 20, "tip": 30}, "max priority fee per gas higher than max fee per gas"),
        ({"gas": BLOCK_GAS + 1}, "exceeds block gas limit"),
        ({"gas": 20_999}, "intrinsic gas too low: gas 20999, minimum needed 21000"),
        (
            {"gas": 21_016, "data": b"\1"},
            "insufficient gas for floor data gas cost: gas 21016, minimum needed 21040",
        ),
        ({"chain_id": 1}, "invalid sender: invalid chain id for signer: have 1 want 137"),
        ({"chain_id": None}, "only replay-protected (EIP-155) transactions allowed over RPC"),
    ],
)
def test_what_no_block_could_take_is_refused(fields: dict[str, Any], text: str) -> None:
    assert refusal(Pool(), a_transaction(**fields)) == text


def test_who_cannot_pay_is_refused_with_the_numbers() -> None:
    text = refusal(Pool(), a_transaction(value=5), AccountState(nonce=0, balance=3))

    cost = 21_000 * 200 * GWEI + 5
    assert text == (
        "insufficient funds for gas * price + value: "
        f"balance 3, tx cost {cost}, overshot {cost - 3}"
    )


def test_what_is_pooled_already_counts_against_the_balance() -> None:
    pool, cost = Pool(), 21_000 * 200 * GWEI
    account = AccountState(nonce=0, balance=2 * cost - 1)
    add(pool, a_transaction(0), account)

    assert refusal(pool, a_transaction(1), account) == (
        "insufficient funds for gas * price + value: "
        f"balance {2 * cost - 1}, queued cost {cost}, tx cost {cost}, overshot 1"
    )


def test_a_replacement_counts_by_what_it_adds() -> None:
    pool, old, new = Pool(), 21_000 * 100 * GWEI, 21_000 * 110 * GWEI
    account = AccountState(nonce=0, balance=new + old - 1)
    for nonce in range(2):
        add(pool, a_transaction(nonce, max_fee=100), AccountState(nonce=0, balance=POL))

    assert refusal(pool, a_transaction(0, max_fee=110, tip=33), account) == (
        "insufficient funds for gas * price + value: balance "
        f"{new + old - 1}, queued cost {2 * old}, tx bumped {new - old}, overshot 1"
    )


@pytest.mark.parametrize(
    ("max_fee", "tip", "is_enough"),
    [
        (42 * GWEI, 31_500_000_000, False),
        (44 * GWEI, 32 * GWEI, False),
        (43_900_000_000, 33 * GWEI, False),
        (50 * GWEI, 20 * GWEI, False),
        (44 * GWEI - 1, 33 * GWEI, False),
        (44 * GWEI, 33 * GWEI, True),
        (220 * GWEI, 36 * GWEI, True),
    ],
)
def test_a_replacement_raises_both_fees_by_a_tenth(
    max_fee: int, tip: int, *, is_enough: bool
) -> None:
    old = a_transaction(max_fee=40, tip=30)
    new = a_transaction(1, value=1)

    object.__setattr__(new, "max_fee", max_fee)
    object.__setattr__(new, "tip", tip)

    assert is_replacement(new, old) == is_enough


def test_a_replacement_takes_the_place_of_the_first() -> None:
    pool, first, second = Pool(), a_transaction(max_fee=40), a_transaction(max_fee=44, tip=33)
    add(pool, first)

    assert add(pool, second) == first

    assert pool.find(first.hash) is None
    assert pending_nonces(pool) == [0]


def test_a_replacement_that_pays_too_little_changes_nothing() -> None:
    pool, first = Pool(), a_transaction(max_fee=40)
    add(pool, first)

    assert refusal(pool, a_transaction(max_fee=50)) == "replacement transaction underpriced"

    assert pool.find(first.hash) == first


def test_what_is_behind_a_gap_is_queued_until_it_is_filled() -> None:
    pool = Pool()
    add(pool, a_transaction(0))
    add(pool, a_transaction(2))
    assert (pending_nonces(pool), queued_nonces(pool)) == ([0], [2])

    add(pool, a_transaction(1))

    assert (pending_nonces(pool), queued_nonces(pool)) == ([0, 1, 2], [])


def test_an_account_has_sixteen_pending_and_the_next_is_refused() -> None:
    pool = Pool()
    for nonce in range(16):
        add(pool, a_transaction(nonce))

    assert refusal(pool, a_transaction(16)) == "txpool is full"

    add(pool, a_transaction(15, max_fee=220, tip=33))
    assert pending_nonces(pool) == list(range(16))


def test_of_more_than_64_queued_the_highest_nonce_is_lost_in_silence() -> None:
    pool = Pool()
    for nonce in range(1, 66):
        add(pool, a_transaction(nonce))

    assert queued_nonces(pool) == list(range(1, 65))
    assert pool.find(a_transaction(65).hash) is None


def test_what_is_queued_waits_for_room_among_the_pending() -> None:
    pool = Pool()
    for nonce in range(1, 20):
        add(pool, a_transaction(nonce))

    add(pool, a_transaction(0))

    assert (pending_nonces(pool), queued_nonces(pool)) == ([*range(16)], [16, 17, 18, 19])


def test_dropping_one_queues_those_behind_it() -> None:
    pool, dropped = Pool(), a_transaction(1)
    for each in (a_transaction(0), dropped, a_transaction(2)):
        add(pool, each)

    assert pool.drop(dropped.hash) == dropped
    assert pool.drop(dropped.hash) is None

    assert (pending_nonces(pool), queued_nonces(pool)) == ([0], [2])


def test_what_is_mined_leaves_the_pool() -> None:
    pool = Pool()
    for nonce in range(3):
        add(pool, a_transaction(nonce))
    after = AccountState(nonce=2, balance=POL)

    gone = pool.settle({"0xA": after}, now_s=0)

    assert [each.nonce for each in gone] == [0, 1]
    assert pending_nonces(pool, after) == [2]


def test_what_cannot_be_paid_any_more_leaves_the_pool() -> None:
    pool = Pool()
    add(pool, a_transaction(0, value=10 * POL))
    add(pool, a_transaction(1))

    pool.settle({"0xA": AccountState(nonce=0, balance=POL)}, now_s=0)

    assert (pending_nonces(pool), queued_nonces(pool)) == ([], [1])


def test_what_is_queued_for_three_hours_is_forgotten_and_what_is_pending_is_not() -> None:
    pool = Pool()
    add(pool, a_transaction(0), now_s=0)
    add(pool, a_transaction(2), now_s=0)

    assert pool.settle({"0xA": RICH}, now_s=3 * HOUR_S) == []
    pool.settle({"0xA": RICH}, now_s=3 * HOUR_S + 1)

    assert (pending_nonces(pool), queued_nonces(pool)) == ([0], [])


def test_a_new_transaction_of_the_account_keeps_its_queued_ones_alive() -> None:
    pool = Pool()
    add(pool, a_transaction(2), now_s=0)
    add(pool, a_transaction(4), now_s=2 * HOUR_S)

    pool.settle({"0xA": RICH}, now_s=4 * HOUR_S)

    assert queued_nonces(pool) == [2, 4]


def test_what_was_unmined_returns_where_its_nonce_is_free() -> None:
    pool, unmined = Pool(), [a_transaction(nonce) for nonce in range(3)]
    add(pool, a_transaction(2, max_fee=300))

    restored = pool.restore(unmined, {"0xA": AccountState(nonce=1, balance=POL)}, now_s=0)

    assert [each.nonce for each in restored] == [1]
