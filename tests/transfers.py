"""Transfers between operator wallets and proxies, for tests."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from services.tx_monitor.decisions.transfers import Attempt, AttemptKind, Fees, Terms, Transfer
from shared.messages.transfers import (
    Direction,
    TransferPurpose,
    TransferReported,
    TransferRequested,
    TransferState,
)
from tests.builders import BLOCK, NOON, PROXY, seconds, usdc

OPERATOR = "0x00000000000000000000000000000000000000C1"
OTHER_OPERATOR = "0x00000000000000000000000000000000000000c2"
GWEI = 10**9


def a_transfer_request(**overrides: Any) -> TransferRequested:
    """5 pUSD to the proxy."""
    fields = {
        "message_id": "transfer-1",
        "occurred_at": NOON,
        "proxy": PROXY,
        "request_id": "transfer-1",
        "operator": OPERATOR,
        "direction": Direction.TO_PROXY,
        "token_id": None,
        "amount": usdc(5),
        "purpose": TransferPurpose.PROCEEDS,
        "intent_id": "1a" * 16,
        "send_before": None,
    }
    return TransferRequested.model_validate(fields | overrides)


def a_transfer_report(**overrides: Any) -> TransferReported:
    """5 pUSD to the proxy, sent."""
    request = a_transfer_request().model_dump(exclude={"send_before"})
    fields = {
        "message_id": "transfer-1:2",
        "state": TransferState.SENT,
        "revision": 2,
        "transaction_hash": "",
        "block_number": None,
        "reason": "",
    }
    return TransferReported.model_validate(request | fields | overrides)


def some_terms(**overrides: Any) -> Terms:
    base = Terms(
        request_id="transfer-1",
        proxy=PROXY,
        operator=OPERATOR,
        direction=Direction.TO_PROXY,
        token_id=None,
        amount=usdc(5),
        purpose=TransferPurpose.PROCEEDS,
        intent_id="1a" * 16,
        send_before=None,
    )
    return replace(base, **overrides)


def a_queued_transfer(**overrides: Any) -> Transfer:
    return Transfer(terms=some_terms(**overrides))


def an_attempt(identity: int = 1, /, **overrides: Any) -> Attempt:
    """The first attempt of a transfer. ``identity``: makes its hash and bytes differ."""
    base = Attempt(
        tx_hash=f"0x{identity:064x}",
        number=1,
        kind=AttemptKind.TRANSFER,
        raw=bytes([2, identity]),
        gas=60_000,
        fees=Fees(max_fee=100 * GWEI, tip=30 * GWEI),
        signed_at=NOON,
        signed_at_block=50,
    )
    return replace(base, **overrides)


def begin_with(transfer: Transfer, attempt: Attempt, *, nonce: int) -> Transfer:
    return replace(
        transfer,
        state=TransferState.SENT,
        nonce=nonce,
        attempts=(attempt,),
        revision=transfer.revision + 1,
    )


def mine(transfer: Transfer, attempt: Attempt, *, block: int = 60) -> Transfer:
    return replace(
        transfer,
        state=TransferState.MINED,
        mined_hash=attempt.tx_hash,
        block_number=block,
        block_hash=BLOCK,
        is_reported=False,
        revision=transfer.revision + 1,
    )


def after(number: int) -> datetime:
    """So many seconds after noon."""
    return NOON + seconds(number)
