"""Where a transaction stands, by what a node shows of it."""

from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from services.tx_monitor.adapters import build_receipt_seen, is_changed
from services.tx_monitor.decisions import FINAL_STATES, Watch, apply_receipt, build_watch
from shared.chain.addresses import EXCHANGE_V2
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
GONE = {"block_number": None, "block_hash": "", "succeeded": False, "fills": ()}
LOOKS = st.builds(
    lambda number, succeeded, finalized: a_receipt(
        **(GONE if number is None else {"block_number": number, "succeeded": succeeded}),
        finalized_block=finalized,
    ),
    st.none() | st.integers(90, 110),
    st.booleans(),
    st.integers(80, 120),
)


def after(*looks: ReceiptSeen) -> Watch:
    watch = build_watch(requested())
    for look in looks:
        watch = apply_receipt(watch, look)
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
def test_a_receipt_is_final_from_the_finalized_block_on(
    succeeded: bool, finalized: int, state: TransactionState
) -> None:
    assert after(a_receipt(succeeded=succeeded, finalized_block=finalized)).state is state


def test_a_reorg_un_mines() -> None:
    watch = after(a_receipt(), a_receipt(**GONE))

    assert watch == build_watch(requested())


def test_what_was_undone_can_be_mined_again_elsewhere_and_otherwise() -> None:
    watch = after(
        a_receipt(),
        a_receipt(**GONE),
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
        a_receipt(**GONE),
        a_receipt(succeeded=False),
        a_receipt(block_hash=OTHER_BLOCK, finalized_block=200),
    ],
)
def test_final_stands_whatever_a_node_shows_later(later: ReceiptSeen) -> None:
    final = after(a_receipt(finalized_block=100))

    assert apply_receipt(final, later) == final


@given(st.lists(LOOKS, min_size=1, max_size=6))
def test_a_watch_ends_at_the_first_final_look_and_else_is_what_the_last_one_showed(
    looks: list[ReceiptSeen],
) -> None:
    watch = after(*looks)

    finals = [
        look
        for look in looks
        if look.block_number is not None and look.block_number <= look.finalized_block
    ]
    decisive = finals[0] if finals else looks[-1]
    assert (watch.state in FINAL_STATES) == bool(finals)
    assert (watch.block_number, watch.fills) == (decisive.block_number, decisive.fills)


def a_log(*, address: str = EXCHANGE_V2, maker: str = PROXY) -> dict[str, Any]:
    words = ["uint256"] * 7
    data = encode(words, [0, int(TOKEN), usdc(5), shares(10), usdc("0.1"), 0, 0])
    topics = [
        ORDER_FILLED,
        ORDER_HASH,
        *("0x" + wallet[2:].lower().rjust(64, "0") for wallet in (maker, EXCHANGE_V2)),
    ]
    return {
        "address": address.lower(), "topics": topics, "data": "0x" + data.hex(), "transactionHash": TRANSACTION, "blockNumber": "0x64",
        "blockHash": BLOCK, "logIndex": "0x0",
    }  # fmt: skip


def shown(*logs: dict[str, Any]) -> Receipt:
    return Receipt(
        tx_hash=TRANSACTION,
        block_number=100,
        block_hash=BLOCK,
        succeeded=True,
        gas_used=1,
        logs=logs,
    )


def fills_in(*logs: dict[str, Any]) -> tuple[SettledFill, ...]:
    return build_receipt_seen(
        build_watch(requested()), shown(*logs), finalized_block=90, now=NOON
    ).fills


def test_a_receipt_tells_what_the_followers_order_gave_and_got() -> None:
    assert fills_in(a_log(), a_log(maker=OTHER_PROXY)) == (
        SettledFill(order_hash=ORDER_HASH, shares=shares(10), usdc=usdc(5), fee_usdc=usdc("0.1")),
    )


def test_an_event_that_only_looks_like_a_fill_is_nobodys_fill() -> None:
    """A maker's wallet is a contract that is called in the settlement: it can emit what it likes."""
    forged = a_log(address=OTHER_PROXY)

    assert fills_in(forged) == ()
    assert fills_in(forged | {"data": "0x00"}, a_log()) == fills_in(a_log())


@pytest.mark.parametrize(
    ("known", "receipt", "finalized", "news"),
    [
        (None, None, 90, False),
        (None, shown(), 90, True),
        (a_receipt(), shown(), 90, False),
        (a_receipt(), shown(), 100, True),
        (a_receipt(), None, 90, True),
        (a_receipt(block_hash=OTHER_BLOCK), shown(), 90, True),
    ],
)
def test_only_what_has_changed_is_told(
    known: ReceiptSeen | None, receipt: Receipt | None, finalized: int, news: bool
) -> None:
    watch = after(known) if known else build_watch(requested())

    assert is_changed(watch, receipt, finalized_block=finalized) is news


def test_a_look_at_nothing_is_no_receipt() -> None:
    look = build_receipt_seen(build_watch(requested()), None, finalized_block=90, now=NOON)

    assert (look.block_number, look.block_hash, look.succeeded, look.fills) == (None, "", False, ())
