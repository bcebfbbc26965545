"""A block takes the best-paying transactions that fit."""

from services.paper_venue.polygon_node.packing import pick_transactions
from services.paper_venue.polygon_node.pool import Pooled
from services.paper_venue.polygon_node.transactions import Transaction
from tests.signed_transactions import GWEI, a_transaction


def pick(
    *accounts: list[Transaction], base_fee: int = 100, block_gas: int = 60_000_000, held: str = ""
) -> list[Transaction]:
    pending, arrival = [], 0
    for account in accounts:
        pending.append(
            [
                Pooled(transaction=each, arrival=arrival + number)
                for number, each in enumerate(account)
            ]
        )
        arrival += len(account)
    return pick_transactions(
        pending,
        base_fee=base_fee * GWEI,
        tip_floor=25 * GWEI,
        block_gas=block_gas,
        is_held=lambda each: each.hash == held,
    )


def test_the_higher_tip_comes_first_and_nonces_stay_in_order() -> None:
    low, high = a_transaction(0, sender="0xA", tip=30), a_transaction(1, sender="0xA", tip=60)
    middle = a_transaction(0, sender="0xB", tip=40)

    assert pick([low, high], [middle]) == [middle, low, high]


def test_what_came_first_comes_first_at_the_same_tip() -> None:
    first, second = a_transaction(0, sender="0xB"), a_transaction(0, sender="0xA")

    assert pick([first], [second]) == [first, second]


def test_the_tip_is_what_the_base_fee_leaves_of_the_max_fee() -> None:
    capped = a_transaction(sender="0xA", max_fee=130, tip=90)
    plain = a_transaction(sender="0xB", max_fee=200, tip=40)

    assert pick([capped], [plain]) == [plain, capped]


def test_what_is_below_the_base_fee_keeps_back_what_is_behind_it() -> None:
    held_back = [a_transaction(0, max_fee=99), a_transaction(1, max_fee=500)]

    assert pick(held_back) == []
    assert pick(held_back, base_fee=70) == held_back


def test_the_producer_wants_the_tip_floor_after_the_base_fee() -> None:
    transaction = a_transaction(max_fee=124, tip=30)

    assert pick([transaction], base_fee=100) == []
    assert pick([transaction], base_fee=99) == [transaction]


def test_what_does_not_fit_is_left_for_the_next_block() -> None:
    large = [a_transaction(0, sender="0xA", gas=50_000, tip=60), a_transaction(1, sender="0xA")]
    small = [a_transaction(nonce, sender="0xB") for nonce in range(3)]

    assert pick(large, small, block_gas=72_000) == large
    assert pick(large, small, block_gas=45_000) == small[:2]


def test_a_held_transaction_keeps_back_those_behind_it() -> None:
    transactions = [a_transaction(nonce) for nonce in range(3)]

    assert pick(transactions, held=transactions[1].hash) == transactions[:1]
