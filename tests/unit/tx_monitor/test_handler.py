"""The results that are published for a request, its repetitions and its receipts."""

from collections.abc import Sequence
from datetime import timedelta

from services.tx_monitor.handler import Handler
from shared.messages.base import Message
from shared.messages.transactions import ReceiptSeen, TransactionResolved, TransactionState
from tests.builders import NOON, a_receipt, requested, settled
from tests.fakes import Clock, FakeTransfers, FakeWatches, wire

NOT_MINED = {"block_number": None, "block_hash": "", "succeeded": False, "fills": ()}


GIVE_UP_AFTER = timedelta(hours=1)


def build_handler() -> Handler:
    return Handler(
        watches=FakeWatches(),
        transfers=FakeTransfers(),
        has_key=lambda _: False,
        wake=lambda _: None,
        now=Clock(NOON),
        give_up_after=GIVE_UP_AFTER,
    )


def only(messages: Sequence[Message]) -> TransactionResolved:
    (message,) = messages
    assert isinstance(message, TransactionResolved)
    return message


async def published_states(handler: Handler, *receipts: ReceiptSeen) -> list[TransactionState]:
    return [only(await handler.on_receipt_seen(receipt)).state for receipt in receipts]


async def test_a_new_request_is_recorded_and_answered_once_there_is_a_receipt() -> None:
    handler = build_handler()

    assert await handler.on_confirmation_requested(requested()) == []
    result = only(await handler.on_receipt_seen(a_receipt()))

    assert (result.state, result.block_number, result.fills) == (
        TransactionState.MINED,
        100,
        (settled(),),
    )
    assert (result.intent_id, result.proxy) == (requested().intent_id, requested().proxy)


async def test_mined_then_unmined_then_final_is_published_each_time() -> None:
    handler = build_handler()
    await handler.on_confirmation_requested(requested())

    states = await published_states(
        handler, a_receipt(), a_receipt(**NOT_MINED), a_receipt(finalized_block=100)
    )

    assert states == [TransactionState.MINED, TransactionState.WATCHED, TransactionState.FINAL]


async def test_a_final_result_is_published_again_for_a_repeated_request() -> None:
    handler = build_handler()
    await handler.on_confirmation_requested(requested())
    final = await handler.on_receipt_seen(a_receipt(finalized_block=100))

    assert wire(await handler.on_confirmation_requested(requested())) == wire(final)
    assert wire(await handler.on_receipt_seen(a_receipt(**NOT_MINED))) == wire(final)


async def test_a_redelivered_receipt_publishes_the_same_result() -> None:
    handler = build_handler()
    await handler.on_confirmation_requested(requested())

    assert wire(await handler.on_receipt_seen(a_receipt())) == wire(
        await handler.on_receipt_seen(a_receipt())
    )


async def test_a_receipt_without_a_watch_is_ignored() -> None:
    assert await build_handler().on_receipt_seen(a_receipt()) == []


async def test_an_unmined_transaction_is_published_as_dropped_after_the_give_up_time() -> None:
    handler = build_handler()
    await handler.on_confirmation_requested(requested())

    states = await published_states(
        handler,
        a_receipt(**NOT_MINED, occurred_at=NOON + GIVE_UP_AFTER / 2),
        a_receipt(**NOT_MINED, occurred_at=NOON + GIVE_UP_AFTER),
    )

    assert states == [TransactionState.WATCHED, TransactionState.DROPPED]
    assert (
        only(await handler.on_confirmation_requested(requested())).state is TransactionState.DROPPED
    )


async def test_a_reorg_starts_the_give_up_time_again() -> None:
    handler = build_handler()
    await handler.on_confirmation_requested(requested())

    states = await published_states(
        handler, a_receipt(), a_receipt(**NOT_MINED, occurred_at=NOON + 2 * GIVE_UP_AFTER)
    )

    assert states == [TransactionState.MINED, TransactionState.WATCHED]


async def test_a_dropped_transaction_with_a_receipt_is_final() -> None:
    handler = build_handler()
    await handler.on_confirmation_requested(requested())

    states = await published_states(
        handler,
        a_receipt(**NOT_MINED, occurred_at=NOON + GIVE_UP_AFTER),
        a_receipt(**NOT_MINED, occurred_at=NOON + GIVE_UP_AFTER),
        a_receipt(finalized_block=100),
    )

    assert states == [TransactionState.DROPPED, TransactionState.DROPPED, TransactionState.FINAL]
