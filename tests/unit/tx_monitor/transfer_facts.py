"""Transfers, attempts, receipts and what nodes show, for the tests of the decisions."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from eth_utils.address import to_checksum_address

from services.tx_monitor.decisions.policy import GWEI, Policy
from services.tx_monitor.decisions.progress import add_attempt, build_movement
from services.tx_monitor.decisions.transfers import (
    Attempt,
    AttemptKind,
    Fees,
    Seen,
    Terms,
    Transfer,
)
from services.tx_monitor.decisions.views import NodeView
from shared.chain.blocks import Block, Receipt
from shared.chain.transfer_calls import Movement
from shared.messages.transfers import Direction, TransferPurpose

START = datetime(2026, 11, 29, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
OPERATOR = to_checksum_address(f"0x{0xAAA:040x}")
PROXY = to_checksum_address(f"0x{0xBBB:040x}")
COLLATERAL_MOVED = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
SHARES_MOVED = "0xc3d58168c5ae7397731d063d5bbf3d657854427343f4c083240f7aacaa2d0f62"
SHARES_MOVED_TOGETHER = "0x4a39dc06d4c0dbc64b70af90fd698a233a518aa5d07e595d983b8c0526c8f7fb"
POLICY = Policy()
HEAD = 100


def name_hash(number: int) -> str:
    return f"0x{number:064x}"


def build_terms(request_id: str = "r1", **changes: Any) -> Terms:
    terms = Terms(
        request_id=request_id,
        proxy=PROXY,
        operator=OPERATOR,
        direction=Direction.FROM_PROXY,
        token_id=None,
        amount=5_000_000,
        purpose=TransferPurpose.REIMBURSEMENT,
        intent_id="i1",
        send_before=None,
    )
    return replace(terms, **changes)


def build_attempt(number: int = 1, kind: AttemptKind = AttemptKind.TRANSFER, **changes: Any) -> Any:
    raises = number - 1  # by 25 % each
    fees = Fees(max_fee=130 * GWEI * 5**raises // 4**raises, tip=30 * GWEI * 5**raises // 4**raises)
    attempt = Attempt(
        tx_hash=name_hash(0xFACE00 + number),
        number=number,
        kind=kind,
        raw=bytes([number]),
        gas=120_000 if kind is AttemptKind.TRANSFER else 21_000,
        fees=fees,
        signed_at=START,
        signed_at_block=HEAD,
    )
    return replace(attempt, **changes)


def build_sent(*kinds: AttemptKind, nonce: int = 7, **terms: Any) -> Transfer:
    """A transfer with an attempt of each kind; one that transfers, where none is given."""
    transfer = Transfer(terms=build_terms(**terms))
    for number, kind in enumerate(kinds or (AttemptKind.TRANSFER,), 1):
        attempt = build_attempt(number, kind)
        transfer = add_attempt(transfer, attempt, nonce=nonce, reason="given up")
    return transfer


def build_block(number: int, fork: int = 0, *, age: timedelta = timedelta(0)) -> Block:
    return Block(
        number=number,
        hash=name_hash(number * 1000 + fork),
        parent_hash=name_hash((number - 1) * 1000 + fork),
        timestamp=int((START - age).timestamp()),
    )


def build_event(movement: Movement, **changes: Any) -> dict[str, Any]:
    """The event that the token's contract emits for the movement."""
    wallets = [movement.giver, movement.receiver]
    words, event = [movement.amount], COLLATERAL_MOVED
    if movement.token_id is not None:
        wallets, words = [movement.operator, *wallets], [movement.token_id, movement.amount]
        event = SHARES_MOVED
    log = {
        "address": movement.contract,
        "topics": [event, *("0x" + wallet[2:].lower().rjust(64, "0") for wallet in wallets)],
        "data": "0x" + "".join(f"{word:064x}" for word in words),
    }
    return {**log, **changes}


def build_receipt(
    tx_hash: str, block: Block, logs: tuple[dict[str, Any], ...] = (), *, succeeded: bool = True
) -> Receipt:
    return Receipt(
        tx_hash=tx_hash,
        block_number=block.number,
        block_hash=block.hash,
        succeeded=succeeded,
        gas_used=50_000,
        logs=logs,
    )


def build_receipts(
    transfer: Transfer, block: Block, number: int = 1, *, outcome: str = "moved"
) -> Mapping[str, Receipt]:
    """The receipt of one attempt, which moved what is asked for, reverted, or did nothing."""
    tx_hash = transfer.attempts[number - 1].tx_hash
    event = build_event(build_movement(transfer.terms))
    logs = (event,) if outcome == "moved" else ()
    return {tx_hash: build_receipt(tx_hash, block, logs, succeeded=outcome != "reverted")}


def build_seen(**changes: Any) -> Seen:
    """A chain at block 100 of which 96 is final; the wallet's next nonce is 7."""
    seen = Seen(
        head=build_block(HEAD),
        finalized=build_block(HEAD - 4),
        base_fee=50 * GWEI,
        suggested=Fees(max_fee=130 * GWEI, tip=30 * GWEI),
        nonce=7,
        final_nonce=7,
        gas_balance=10**19,
        receipts={},
        without_receipt=frozenset(),
        canonical={},
        pooled=frozenset(),
        is_complete=True,
        finality_lag=8 * SECOND,
    )
    return replace(seen, **changes)


def build_view(name: str = "a", **changes: Any) -> NodeView:
    """What a node shows of the same chain."""
    view = NodeView(
        name=name,
        head=build_block(HEAD),
        finalized=build_block(HEAD - 4, age=8 * SECOND),
        base_fee=50 * GWEI,
        rewards=(30 * GWEI,) * 10,
        node_tip=None,
        nonce=7,
        final_nonce=7,
        gas_balance=10**19,
        receipts={},
        pooled=frozenset(),
        blocks={},
    )
    return replace(view, **changes)
