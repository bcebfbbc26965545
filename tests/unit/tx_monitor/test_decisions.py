"""The state of a watch, from its receipts."""

from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from services.tx_monitor.adapters import build_receipt_seen, is_changed
from services.tx_monitor.decisions.watches import FINAL_STATES, Watch, apply_receipt, build_watch
from shared.chain.addresses import EXCHANGE_V2, LIVE_EXCHANGES
from shared.chain.blocks import Receipt
from shared.chain.logs import ORDER_FILLED
from shared.messages.transactions import ReceiptSeen, SettledFill, TransactionState
from tests.builders import (
    BLOCK,
    NOON,
    ORDER_HASH,
    OTHER_PROXY,
    PROXY,
    TOKEN,
    TRANSACTION,
    a_receipt,
    requested,
    shares,
    usdc,
)

OTHER_BLOCK = "0x" + "b2" * 32
NOT_MINED = {"block_number": None, "block_hash": "", "succeeded": False, "fills": ()}
RECEIPTS = st.builds(
    lambda number, succeeded, finalized: a_receipt(
        **(NOT_MINED if number is None else {"block_number": number, "succeeded": succeeded}),
        finalized_block=finalized,
    ),
    st.none() | st.integers(90, 110),
    st.booleans(),
    st.integers(80, 120),
)


def after(*receipts: ReceiptSeen) -> Watch:
    watch = build_watch(requested())
    for receipt in receipts:
        watch = apply_receipt(watch, receipt)
    return watch


@pytest.mark.parametrize(
    ("succeeded", "finalized", "state"),
    [
        (True, 99, TransactionState.MINED),
        (True, 100, TransactionState.FINAL),
        (False, 99, TransactionState.REVERTED),
        (False, 100, TransactionState.FINAL_REVERTED),
    ],
)
def test_a_receipt_at_or_below_the_finalized_block_is_final(
    succeeded: bool, finalized: int, state: TransactionState
) -> None:
    assert after(a_receipt(succeeded=succeeded, finalized_block=finalized)).state is state


def test_a_reorg_un_mines_a_transaction() -> None:
    watch = after(a_receipt(), a_receipt(**NOT_MINED))

    assert watch == build_watch(requested())


def test_after_a_reorg_a_transaction_can_be_mined_in_another_block_with_another_result() -> None:
    watch = after(
        a_receipt(),
        a_receipt(**NOT_MINED),
        a_receipt(block_number=103, block_hash=OTHER_BLOCK, succeeded=False, fills=()),
    )

    assert (watch.state, watch.block_number, watch.block_hash, watch.fills) == (
        TransactionState.REVERTED,
        103,
        OTHER_BLOCK,
        (),
    )


@pytest.mark.parametrize(
    "later",
    [
        a_receipt(**NOT_MINED),
        a_receipt(succeeded=False),
        a_receipt(block_hash=OTHER_BLOCK, finalized_block=200),
    ],
)
def test_a_final_state_never_changes(later: ReceiptSeen) -> None:
    final = after(a_receipt(finalized_block=100))

    assert apply_receipt(final, later) == final


@given(st.lists(RECEIPTS, min_size=1, max_size=6))
def test_a_watch_follows_its_first_final_receipt_or_else_its_last_one(
    receipts: list[ReceiptSeen],
) -> None:
    watch = after(*receipts)

    finals = [
        receipt
        for receipt in receipts
        if receipt.block_number is not None and receipt.block_number <= receipt.finalized_block
    ]
    expected = finals[0] if finals else receipts[-1]
    assert (watch.state in FINAL_STATES) == bool(finals)
    assert (watch.block_number, watch.fills) == (expected.block_number, expected.fills)


def a_log(*, address: str = EXCHANGE_V2, maker: str = PROXY) -> dict[str, Any]:
    words = ["uint256"] * 7
    data = encode(words, [0, int(TOKEN), usdc(5), shares(10), usdc("0.1"), 0, 0])
    topics = [
        ORDER_FILLED,
        ORDER_HASH,
        *("0x" + wallet[2:].lower().rjust(64, "0") for wallet in (maker, EXCHANGE_V2)),
    ]
    return {
        "address": address.lower(),
        "topics": topics,
        "data": "0x" + data.hex(),
        "transactionHash": TRANSACTION,
        "blockNumber": "0x64",
        "blockHash": BLOCK,
        "logIndex": "0x0",
    }


def build_receipt(*logs: dict[str, Any]) -> Receipt:
    return Receipt(
        tx_hash=TRANSACTION,
        block_number=100,
        block_hash=BLOCK,
        succeeded=True,
        gas_used=1,
        logs=logs,
    )


def seen_fills(*logs: dict[str, Any]) -> tuple[SettledFill, ...]:
    return build_receipt_seen(
        build_watch(requested()),
        build_receipt(*logs),
        exchanges=LIVE_EXCHANGES,
        finalized_block=90,
        now=NOON,
    ).fills


def test_a_receipt_contains_the_fills_of_the_followers_orders_alone() -> None:
    assert seen_fills(a_log(), a_log(maker=OTHER_PROXY)) == (
        SettledFill(order_hash=ORDER_HASH, shares=shares(10), usdc=usdc(5), fee_usdc=usdc("0.1")),
    )


def test_a_fill_event_of_another_contract_is_not_a_fill() -> None:
    """A maker's wallet is a contract that is called in the settlement: it can emit any event."""
    forged = a_log(address=OTHER_PROXY)

    assert seen_fills(forged) == ()
    assert seen_fills(forged | {"data": "0x00"}, a_log()) == seen_fills(a_log())


@pytest.mark.parametrize(
    ("recorded", "receipt", "finalized", "changed"),
    [
        (None, None, 90, False),
        (None, build_receipt(), 90, True),
        (a_receipt(), build_receipt(), 90, False),
        (a_receipt(), build_receipt(), 100, True),
        (a_receipt(), None, 90, True),
        (a_receipt(block_hash=OTHER_BLOCK), build_receipt(), 90, True),
    ],
)
def test_only_a_changed_receipt_counts_as_changed(
    recorded: ReceiptSeen | None, receipt: Receipt | None, finalized: int, changed: bool
) -> None:
    watch = after(recorded) if recorded else build_watch(requested())

    assert is_changed(watch, receipt, finalized_block=finalized) is changed


def test_a_missing_receipt_is_published_without_a_block() -> None:
    receipt = build_receipt_seen(
        build_watch(requested()), None, exchanges=LIVE_EXCHANGES, finalized_block=90, now=NOON
    )

    assert (receipt.block_number, receipt.block_hash, receipt.succeeded, receipt.fills) == (
        None,
        "",
        False,
        (),
    )
