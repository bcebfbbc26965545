"""A valid message of every class, each with the key that its topic declares."""

from datetime import UTC, datetime

from shared.messages.base import Message
from shared.messages.dead_letters import DeadLetter
from shared.messages.intents import Missing, NoQuote
from shared.messages.transfers import TransferState
from tests import builders, transfers
from tests.builders import LEADER, PROXY, TOKEN

A_DEAD_LETTER = DeadLetter(
    message_id="dead-1",
    occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    service="pricer",
    reason="not a CopyIntended",
    source_topic="copy-intents",
    source_partition=3,
    source_offset=7,
    record_type="CopyIntended",
    record_key=b"a2V5",
    record_value=b"e30=",
    record_headers=(("type", b"Q29weQ=="),),
)

SAMPLES: tuple[tuple[Message, str], ...] = (
    (builders.a_fill(), LEADER),
    (builders.intended(), PROXY),
    (builders.quoted(), PROXY),
    (builders.quoted(NoQuote(missing=Missing.EMPTY_BOOK)), PROXY),
    (builders.approved(), PROXY),
    (builders.refused(), PROXY),
    (builders.an_outcome(), PROXY),
    (builders.a_trade(), PROXY),
    (builders.overdue(), PROXY),
    (builders.requested(), PROXY),
    (builders.a_receipt(), PROXY),
    (builders.a_receipt(block_number=None, block_hash="", succeeded=False, fills=()), PROXY),
    (builders.resolved(), PROXY),
    (builders.fills_settled(), PROXY),
    (transfers.a_transfer_request(), PROXY),
    (transfers.a_transfer_request(token_id=TOKEN, send_before=builders.NOON), PROXY),
    (transfers.a_transfer_report(), PROXY),
    (transfers.a_transfer_report(state=TransferState.FINAL, block_number=60), PROXY),
    (builders.a_debt(), PROXY),
    (builders.a_book_seen(), TOKEN),
    (builders.balances(), PROXY),
    (builders.a_parked_frame(), "rtds"),
    (A_DEAD_LETTER, "key"),
)
