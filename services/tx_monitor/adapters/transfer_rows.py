"""Transfers and attempts as rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.tx_monitor.decisions.transfers import Attempt, AttemptKind, Fees, Terms, Transfer
from shared.db.rows import Row
from shared.messages.transfers import Direction, TransferPurpose, TransferState


def build_new_row(transfer: Transfer, *, now: datetime, traceparent: str | None) -> dict[str, Any]:
    terms = transfer.terms
    return {
        "request_id": terms.request_id,
        "proxy": terms.proxy,
        "operator": terms.operator,
        "direction": terms.direction.value,
        "token_id": terms.token_id,
        "amount": terms.amount,
        "purpose": terms.purpose.value,
        "intent_id": terms.intent_id,
        "send_before": terms.send_before,
        "state": transfer.state.value,
        "reason": transfer.reason,
        "is_reported": transfer.is_reported,
        "traceparent": traceparent,
        "requested_at": now,
        "changed_at": now,
    }


def build_state_parameters(transfer: Transfer) -> dict[str, Any]:
    return {
        "id": transfer.terms.request_id,
        "operator": transfer.terms.operator,
        "state": transfer.state.value,
        "reason": transfer.reason,
        "mined_hash": transfer.mined_hash,
        "block_number": transfer.block_number,
        "block_hash": transfer.block_hash,
        "is_reported": transfer.is_reported,
        "revision": transfer.revision,
    }


def build_attempt_row(attempt: Attempt, *, request_id: str) -> dict[str, Any]:
    return {
        "tx_hash": attempt.tx_hash,
        "request_id": request_id,
        "number": attempt.number,
        "kind": attempt.kind.value,
        "raw": attempt.raw,
        "gas": attempt.gas,
        "max_fee": attempt.fees.max_fee,
        "tip": attempt.fees.tip,
        "signed_at": attempt.signed_at,
        "signed_at_block": attempt.signed_at_block,
    }


def parse_transfer(row: Row, attempts: Sequence[Attempt] = ()) -> Transfer:
    return Transfer(
        terms=Terms(
            request_id=row.request_id,
            proxy=row.proxy,
            operator=row.operator,
            direction=Direction(row.direction),
            token_id=row.token_id,
            amount=row.amount,
            purpose=TransferPurpose(row.purpose),
            intent_id=row.intent_id,
            send_before=row.send_before,
        ),
        state=TransferState(row.state),
        reason=row.reason,
        nonce=row.nonce,
        attempts=tuple(attempts),
        mined_hash=row.mined_hash,
        block_number=row.block_number,
        block_hash=row.block_hash,
        is_reported=row.is_reported,
        revision=row.revision,
        traceparent=row.traceparent,
    )


def parse_attempt(row: Row) -> Attempt:
    return Attempt(
        tx_hash=row.tx_hash,
        number=row.number,
        kind=AttemptKind(row.kind),
        raw=row.raw,
        gas=row.gas,
        fees=Fees(max_fee=row.max_fee, tip=row.tip),
        signed_at=row.signed_at,
        signed_at_block=row.signed_at_block,
    )
