"""Who waits for a transaction is told where it stands, once more for each time he asks."""

from collections.abc import Sequence
from datetime import timedelta

from services.tx_monitor.handler import Handler
from shared.messages.base import Message
from shared.messages.transactions import ReceiptSeen, TransactionResolved, TransactionState
from tests.builders import NOON, a_receipt, requested, settled
from tests.fakes import Clock, FakeWatches, wire

GONE = {"block_number": None, "block_hash": "", "succeeded": False, "fills": ()}


LONG = timedelta(hours=1)


def monitor() -> Handler:
    return Handler(watches=FakeWatches(), now=Clock(NOON), give_up_after=LONG)


def the(messages: Sequence[Message]) -> TransactionResolved:
    (message,) = messages
    assert isinstance(message, TransactionResolved)
    return message


async def told(handler: Handler, *looks: ReceiptSeen) -> list[TransactionState]:
    return [the(await handler.on_receipt_seen(look)).state for look in looks]


async def test_a_new_request_is_watched_and_answered_later() -> None:
    handler = monitor()

    assert await handler.on_confirmation_requested(requested()) == []
    result = the(await handler.on_receipt_seen(a_receipt()))

    assert (result.state, result.block_number, result.fills) == (
        TransactionState.MINED,
        100,
        (settled(),),
    )
    assert (result.intent_id, result.proxy) == (requested().intent_id, requested().proxy)


async def test_mined_then_undone_then_final_is_told_each_time() -> None:
    handler = monitor()
    await handler.on_confirmation_requested(requested())

    states = await told(handler, a_receipt(), a_receipt(**GONE), a_receipt(finalized_block=100))

    assert states == [TransactionState.MINED, TransactionState.WATCHED, TransactionState.FINAL]


async def test_final_stands_and_is_told_again_to_whoever_asks_again() -> None:
    handler = monitor()
    await handler.on_confirmation_requested(requested())
    final = await handler.on_receipt_seen(a_receipt(finalized_block=100))

    assert wire(await handler.on_confirmation_requested(requested())) == wire(final)
    assert wire(await handler.on_receipt_seen(a_receipt(**GONE))) == wire(final)


async def test_a_redelivered_look_says_the_same_again() -> None:
    handler = monitor()
    await handler.on_confirmation_requested(requested())

    assert wire(await handler.on_receipt_seen(a_receipt())) == wire(
        await handler.on_receipt_seen(a_receipt())
    )


async def test_what_nobody_waits_for_is_nobodys_news() -> None:
    assert await monitor().on_receipt_seen(a_receipt()) == []


async def test_what_is_in_no_block_for_too_long_is_told_as_dropped_and_to_whoever_asks_again() -> (
    None
):
    handler = monitor()
    await handler.on_confirmation_requested(requested())

    states = await told(
        handler,
        a_receipt(**GONE, occurred_at=NOON + LONG / 2),
        a_receipt(**GONE, occurred_at=NOON + LONG),
    )

    assert states == [TransactionState.WATCHED, TransactionState.DROPPED]
    assert (
        the(await handler.on_confirmation_requested(requested())).state is TransactionState.DROPPED
    )


async def test_what_a_reorg_has_undone_has_its_time_anew() -> None:
    handler = monitor()
    await handler.on_confirmation_requested(requested())

    states = await told(handler, a_receipt(), a_receipt(**GONE, occurred_at=NOON + 2 * LONG))

    assert states == [TransactionState.MINED, TransactionState.WATCHED]


async def test_dropped_is_no_proof_a_receipt_is() -> None:
    handler = monitor()
    await handler.on_confirmation_requested(requested())

    states = await told(
        handler,
        a_receipt(**GONE, occurred_at=NOON + LONG),
        a_receipt(**GONE, occurred_at=NOON + LONG),
        a_receipt(finalized_block=100),
    )

    assert states == [TransactionState.DROPPED, TransactionState.DROPPED, TransactionState.FINAL]
