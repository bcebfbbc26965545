"""What the logs of final blocks become: every fill once, and all of a wallet's block or nothing."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tx_monitor.adapters import build_receipt_seen
from services.tx_monitor.adapters.settled_fills import SettledSpan, build_settled, list_blocks
from services.tx_monitor.decisions.watches import Watch
from shared.chain.addresses import EXCHANGE_V2
from shared.chain.blocks import Block, Receipt
from shared.chain.fill_reader import FillSpan
from shared.chain.logs import (
    MAX_AMOUNT,
    ORDER_FILLED,
    ORDER_FILLED_V1,
    OrderFilledLog,
    UnreadableFill,
    decode_order_fills,
)
from shared.domain.errors import Transient
from shared.domain.money import Side
from shared.messages.transactions import Purpose
from tests.builders import LEADER, NOON, OTHER_PROXY, PROXY
from tests.nodes import a_block_hash, a_fill_log, a_transaction_hash

WALLETS = (PROXY, OTHER_PROXY)
BLOCKS = {
    number: Block(
        number=number,
        hash=a_block_hash(number),
        parent_hash=a_block_hash(number - 1),
        timestamp=1_790_000_000 + number,
    )
    for number in range(100, 110)
}


def a_log(block: int, index: int, maker: str, *, amounts: tuple[int, int, int]) -> OrderFilledLog:
    """A fill; three of its wallet's in a row are of one order, two of one transaction."""
    return OrderFilledLog(
        exchange=EXCHANGE_V2,
        tx_hash=a_transaction_hash(1_000 * block + index // 2),
        block_number=block,
        block_hash=a_block_hash(block),
        log_index=index,
        order_hash=f"0x{index // 3:064x}",
        maker=maker,
        taker=EXCHANGE_V2,
        side=Side.BUY if index % 2 else Side.SELL,
        token_id=10**70,
        maker_amount=amounts[0],
        taker_amount=amounts[1],
        fee=amounts[2],
    )


AMOUNTS = st.tuples(*(st.integers(0, MAX_AMOUNT) for _ in range(3)))
LOGS = st.dictionaries(
    st.tuples(st.sampled_from(sorted(BLOCKS)), st.integers(0, 20)),
    st.tuples(st.sampled_from([*WALLETS, LEADER]), AMOUNTS),
    max_size=30,
).map(
    lambda drawn: [
        a_log(block, index, maker, amounts=amounts)
        for (block, index), (maker, amounts) in sorted(drawn.items())
    ]
)
KEYS = st.sets(st.tuples(st.sampled_from(sorted(BLOCKS)), st.sampled_from(WALLETS)))


def build(logs: list[OrderFilledLog], *unreadable: tuple[int, str]) -> SettledSpan:
    span = FillSpan(
        fills=logs,
        through_block=max(BLOCKS),
        unreadable=tuple(
            UnreadableFill(maker=maker, block_number=block, reason="7 words")
            for block, maker in unreadable
        ),
    )
    return build_settled(
        span, wallets=WALLETS, blocks={each: BLOCKS[each] for each in list_blocks(span)}
    )


@given(logs=LOGS, unreadable=KEYS)
def test_each_fill_of_the_wallets_is_in_one_message_or_its_block_is_left_out(
    logs: list[OrderFilledLog], unreadable: set[tuple[int, str]]
) -> None:
    settled = build(logs, *unreadable)

    published = [
        (message.block_number, message.proxy, fill.log_index, fill.shares, fill.usdc, fill.fee_usdc)
        for message in settled.messages
        for fill in message.fills
    ]
    assert sorted(published) == sorted(
        (log.block_number, log.maker, log.log_index, log.shares, log.usdc, log.fee)
        for log in logs
        if log.maker in WALLETS and (log.block_number, log.maker) not in unreadable
    )
    assert {(each.block_number, each.proxy) for each in settled.left_out} == unreadable
    ids = [message.message_id for message in settled.messages]
    assert len(set(ids)) == len(ids)


@given(logs=LOGS)
def test_messages_are_in_the_order_of_blocks_and_their_fills_in_that_of_logs(
    logs: list[OrderFilledLog],
) -> None:
    messages = build(logs).messages

    numbers = [message.block_number for message in messages]
    assert numbers == sorted(numbers)
    for message in messages:
        indexes = [fill.log_index for fill in message.fills]
        assert indexes == sorted(indexes)
        assert message.fills
        assert message.mined_at == message.occurred_at
        assert message.mined_at == datetime.fromtimestamp(
            BLOCKS[message.block_number].timestamp, UTC
        )


@given(logs=LOGS)
def test_logs_that_come_twice_change_nothing(logs: list[OrderFilledLog]) -> None:
    twice = sorted([*logs, *logs], key=lambda log: (log.block_number, log.log_index))

    assert build(twice) == build(logs)


def test_hashes_are_in_one_spelling_whichever_node_answers() -> None:
    log = a_log(100, 1, PROXY, amounts=(1, 2, 3))
    shouted = replace(log, tx_hash="0x" + log.tx_hash[2:].upper(), order_hash="0x" + "AB" * 32)

    (message,) = build([shouted]).messages

    assert message.fills[0].transaction_hash == log.tx_hash
    assert message.fills[0].order_hash == "0x" + "ab" * 32


@pytest.mark.parametrize("position", [0, 1, 2])
def test_impossible_amounts_leave_out_the_block_of_their_wallet_alone(position: int) -> None:
    amounts = tuple(MAX_AMOUNT + 1 if each == position else 5 for each in range(3))
    good = [
        a_log(100, 0, PROXY, amounts=(1, 2, 3)),
        a_log(100, 1, OTHER_PROXY, amounts=(1, 2, 3)),
        a_log(101, 0, PROXY, amounts=(1, 2, 3)),
    ]
    bad = a_log(100, 2, PROXY, amounts=(amounts[0], amounts[1], amounts[2]))

    settled = build([*good[:2], bad, good[2]])

    assert [(each.proxy, each.block_number) for each in settled.messages] == [
        (OTHER_PROXY, 100),
        (PROXY, 101),
    ]
    (left_out,) = settled.left_out
    assert (left_out.proxy, left_out.block_number) == (PROXY, 100)
    assert left_out.reason == f"impossible amounts in {bad.tx_hash}"


def test_what_is_wrong_with_wallets_that_were_not_asked_for_is_nothing() -> None:
    bad = a_log(100, 2, LEADER, amounts=(MAX_AMOUNT + 1, 5, 5))

    assert build([bad], (101, LEADER)) == SettledSpan(messages=(), left_out=())


@pytest.mark.parametrize(
    "other",
    [
        a_log(100, 1, PROXY, amounts=(1, 2, 4)),
        replace(a_log(100, 2, PROXY, amounts=(1, 2, 3)), block_hash=a_block_hash(7_000)),
    ],
    ids=["two logs with one index", "another block"],
)
def test_answers_that_contradict_each_other_are_asked_for_again(other: OrderFilledLog) -> None:
    with pytest.raises(Transient):
        build([a_log(100, 1, PROXY, amounts=(1, 2, 3)), other])


@given(logs=LOGS)
def test_no_wallet_gets_fills_of_another(logs: list[OrderFilledLog]) -> None:
    owner = {(log.block_number, log.log_index): log.maker for log in logs}

    for message in build(logs).messages:
        assert {owner[message.block_number, fill.log_index] for fill in message.fills} == {
            message.proxy
        }


def a_raw_log(words: tuple[int, ...], *, topic: str) -> dict[str, Any]:
    fields = a_fill_log(3, maker=PROXY, block=100, exchange=EXCHANGE_V2)
    data = "0x" + b"".join(word.to_bytes(32) for word in words).hex()
    return fields | {"data": data, "topics": [topic, *fields["topics"][1:]]}


@pytest.mark.parametrize(
    "log",
    [
        a_raw_log((0, 10**70, 5_000_000, 10_000_000, 7, 0, 0), topic=ORDER_FILLED),
        a_raw_log((1, 10**70, 10_000_000, 5_000_000, 7, 0, 0), topic=ORDER_FILLED),
        a_raw_log((0, 10**70, 5_000_000, 10_000_000, 7), topic=ORDER_FILLED_V1),
        a_raw_log((10**70, 0, 10_000_000, 5_000_000, 7), topic=ORDER_FILLED_V1),
    ],
    ids=["buy", "sell", "V1 buy", "V1 sell"],
)
def test_amounts_and_fee_are_those_that_the_transactions_receipt_gives(log: dict[str, Any]) -> None:
    receipt = Receipt(
        tx_hash=log["transactionHash"],
        block_number=100,
        block_hash=a_block_hash(100),
        succeeded=True,
        gas_used=1,
        logs=(log,),
    )
    watch = Watch(
        request_id="request-1",
        proxy=PROXY,
        transaction_hash=log["transactionHash"],
        purpose=Purpose.SETTLEMENT,
        intent_id="intent-1",
    )
    seen = build_receipt_seen(
        watch, receipt, exchanges=[EXCHANGE_V2], finalized_block=100, now=NOON
    )

    (message,) = build(decode_order_fills([log])).messages

    assert [(fill.order_hash, fill.shares, fill.usdc, fill.fee_usdc) for fill in message.fills] == [
        (fill.order_hash, fill.shares, fill.usdc, fill.fee_usdc) for fill in seen.fills
    ]
    assert message.fills[0].fee_usdc == 7
