"""What is to be sent of a transfer, and which one is begun next. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from services.tx_monitor.decisions.fees import raise_fees
from services.tx_monitor.decisions.policy import Policy
from services.tx_monitor.decisions.progress import build_movement, mark_changed
from services.tx_monitor.decisions.transfers import (
    OPEN_STATES,
    Action,
    Attempt,
    AttemptKind,
    Fees,
    Replace,
    Resend,
    Seen,
    Sending,
    Transfer,
    Wait,
)
from shared.chain.transfer_calls import CANCEL_GAS, max_gas
from shared.messages.transfers import Direction, TransferState

IN_FLIGHT_STATES = frozenset({TransferState.SENT, TransferState.CANCELLING})
OVERDUE = "its time was over before it was in a block"
EXPIRED = "its time was over before it was sent"
INVALID = "the nodes refused the transaction: it can never be valid"
STUCK = "it is in no block yet: fees are raised"
NO_GAS_MONEY = "the operator wallet has no money for higher fees"
NO_MONEY_TO_BEGIN = "the operator wallet has no money for the gas of another transfer"
NONCE_USED = "its nonce was used for good, and not every node shows by which transaction"
AT_CAP = "the fees are at their cap"
TOO_MANY_BUMPS = "the fees were raised as often as they may"


def choose_action(
    transfer: Transfer,
    seen: Seen,
    sendings: Mapping[str, Sending],
    *,
    now: datetime,
    policy: Policy,
) -> Action:
    """Return what is to be sent of this transfer in this round.

    ``sendings``: what this process did with the attempts, by transaction. Only attempts of the
    transfer are sent again, in the order of their fees, the highest first. Where a new attempt is
    due and cannot be made, the answer is ``Resend`` with the reason; without any attempt where the
    last sending was not long ago.
    """
    if transfer.state not in IN_FLIGHT_STATES or transfer.nonce is None:
        return Wait()
    if seen.final_nonce is not None and seen.final_nonce > transfer.nonce:
        return Resend((), NONCE_USED)  # what became of it, the receipts will show
    due = _list_due(transfer, seen, sendings, now=now, policy=policy)
    wanted = _choose_replacement(transfer, seen, sendings, now=now, policy=policy)
    is_given_up = transfer.state is TransferState.SENT and _is_cancel(wanted)
    if wanted is None or seen.nonce > transfer.nonce:
        return Resend(due) if due and not is_given_up else Wait()
    kind, reason = wanted
    fees, concern = _choose_fees(transfer, kind, seen, policy)
    if fees is None:
        return Resend(() if is_given_up and concern == NO_GAS_MONEY else due, concern)
    return Replace(kind, fees, reason)


def _is_cancel(wanted: tuple[AttemptKind, str] | None) -> bool:
    return wanted is not None and wanted[0] is AttemptKind.CANCEL


def choose_next(
    queued: Sequence[Transfer],
    open_transfers: Sequence[Transfer],
    seen: Seen,
    *,
    now: datetime,
    halted: bool,
    policy: Policy,
) -> Transfer | None:
    """Return the queued transfer that is to be begun next; None: none may be now.

    ``queued``: of one operator wallet, the oldest first. ``open_transfers``: all with a nonce that
    are not closed, of the wallet and of the proxies. ``seen``: of the wallet. ``halted``: the
    wallet begins nothing.
    """
    if halted or not queued:
        return None
    in_flight = _list_in_flight(open_transfers, queued[0].terms.operator)
    if len(in_flight) >= policy.max_in_flight:
        return None
    busy = {each.terms.proxy for each in open_transfers if each.state in OPEN_STATES}
    for transfer in queued:
        if (
            _is_queued(transfer)
            and transfer.terms.proxy not in busy
            and not _is_overdue(transfer, now)
            and _may_begin(transfer, seen, policy)
            and _can_pay(transfer, in_flight, seen)
        ):
            return transfer
    return None


def find_expired(queued: Sequence[Transfer], *, now: datetime) -> list[Transfer]:
    """Return those that were not sent in time, as expired."""
    return [
        mark_changed(replace(transfer, state=TransferState.EXPIRED, reason=EXPIRED))
        for transfer in queued
        if _is_queued(transfer) and _is_overdue(transfer, now)
    ]


def find_first_nonce(next_nonce: int, seen: Seen) -> int | None:
    """Return the nonce of the next transfer that is begun: the lowest that was never signed and,
    by every node, never used. None: the nodes differ about that, and a node that names too many
    would leave a gap that nothing closes.
    """
    first = max(next_nonce, seen.nonce_floor)
    return first if seen.nonce <= first else None


def list_wallet_concerns(
    queued: Sequence[Transfer], open_transfers: Sequence[Transfer], *, next_nonce: int, seen: Seen
) -> tuple[str, ...]:
    """Return what an operator should know about the wallet, a sentence for each. Its open transfers
    and the queued ones are given; ``next_nonce``: the lowest that was never signed.
    """
    concerns = []
    if find_first_nonce(next_nonce, seen) is None:
        concerns.append(
            f"nothing is begun: a node counts {seen.nonce} transactions of the wallet, another "
            f"{seen.nonce_floor}, and tx-monitor signed none from nonce {next_nonce} on"
        )
    nonces = [each.nonce for each in open_transfers if each.nonce is not None]
    if nonces and min(nonces) > seen.nonce:
        concerns.append(
            f"nonce {seen.nonce} is used by no transaction: all transfers from nonce {min(nonces)} "
            "on wait for one"
        )
    if queued:
        in_flight = _list_in_flight(open_transfers, queued[0].terms.operator)
        if not _can_pay(queued[0], in_flight, seen):
            concerns.append(NO_MONEY_TO_BEGIN)
    return tuple(concerns)


def _list_in_flight(open_transfers: Sequence[Transfer], operator: str) -> list[Transfer]:
    return [
        each
        for each in open_transfers
        if each.state in IN_FLIGHT_STATES and each.terms.operator == operator
    ]


def _is_queued(transfer: Transfer) -> bool:
    return transfer.state is TransferState.QUEUED and transfer.nonce is None


def _is_overdue(transfer: Transfer, now: datetime) -> bool:
    return transfer.terms.send_before is not None and transfer.terms.send_before <= now


def _may_begin(transfer: Transfer, seen: Seen, policy: Policy) -> bool:
    """Whether finality allows it: what takes from a proxy must soon be known to be final."""
    if transfer.terms.direction is Direction.TO_PROXY:
        return True
    return seen.finalized is not None and seen.finality_lag <= policy.max_finality_lag


def _can_pay(transfer: Transfer, in_flight: Sequence[Transfer], seen: Seen) -> bool:
    """Whether the wallet has gas money for all in flight and this one: a pool refuses the rest."""
    promised = sum(each.attempts[-1].gas * each.attempts[-1].fees.max_fee for each in in_flight)
    gas = max_gas(build_movement(transfer.terms))
    return promised + gas * seen.suggested.max_fee <= seen.gas_balance


def _choose_replacement(
    transfer: Transfer,
    seen: Seen,
    sendings: Mapping[str, Sending],
    *,
    now: datetime,
    policy: Policy,
) -> tuple[AttemptKind, str] | None:
    """The kind of attempt that is due, and why; None: the last one has time yet.

    Once a transfer is being cancelled, it only ever gets more attempts to cancel it.
    """
    last = transfer.attempts[-1]
    sending = sendings.get(last.tx_hash)
    if transfer.state is TransferState.SENT:
        if _is_overdue(transfer, now):
            return AttemptKind.CANCEL, OVERDUE
        if sending is not None and sending.is_refused:
            return AttemptKind.CANCEL, INVALID
    if sending is None or not _is_bump_due(transfer, last, seen, now=now, policy=policy):
        return None
    return last.kind, STUCK


def _is_bump_due(
    transfer: Transfer, last: Attempt, seen: Seen, *, now: datetime, policy: Policy
) -> bool:
    """Whether higher fees would help: not while a lower nonce is what it waits for."""
    if transfer.nonce is not None and seen.nonce < transfer.nonce:
        return False
    if seen.base_fee > last.fees.max_fee:
        return True
    return now - last.signed_at >= policy.bump_after and _have_passed(
        policy.bump_after_blocks, since=last.signed_at_block, seen=seen
    )


def _have_passed(blocks: int, *, since: int, seen: Seen) -> bool:
    """Whether so many blocks were built since this one; it counts as passed where the head is below
    it, because the chain went back, or the node that named it was wrong.
    """
    return not 0 <= seen.head.number - since < blocks


def _choose_fees(
    transfer: Transfer, kind: AttemptKind, seen: Seen, policy: Policy
) -> tuple[Fees | None, str]:
    """The fees of the next attempt; or None, and why there is none."""
    last = transfer.attempts[-1]
    is_cancel = kind is AttemptKind.CANCEL
    of_kind = [each for each in transfer.attempts if each.kind is kind]
    if len(of_kind) > policy.max_bumps:
        return None, TOO_MANY_BUMPS
    fees = raise_fees(
        last.fees,
        seen.suggested,
        bumps=len(transfer.attempts) - 1,
        cap=policy.cancel_cap if is_cancel else policy.max_fee_cap,
    )
    if fees is None:
        return None, AT_CAP
    gas = CANCEL_GAS if is_cancel else last.gas
    return (fees, "") if gas * fees.max_fee <= seen.gas_balance else (None, NO_GAS_MONEY)


def _list_due(
    transfer: Transfer,
    seen: Seen,
    sendings: Mapping[str, Sending],
    *,
    now: datetime,
    policy: Policy,
) -> tuple[Attempt, ...]:
    """The attempts that are to be sent again: each that this process did not send yet, and the
    newest where no node has it, or a long time after it was sent last.

    Once a transfer is being cancelled, its other attempts are not sent any more.
    """
    newest_first = [
        each
        for each in reversed(transfer.attempts)
        if transfer.state is TransferState.SENT or each.kind is AttemptKind.CANCEL
    ]
    return tuple(
        attempt
        for attempt in newest_first
        if (sending := sendings.get(attempt.tx_hash)) is None
        or (
            attempt is newest_first[0]
            and _is_resend_due(sending, seen, attempt, now=now, policy=policy)
        )
    )


def _is_resend_due(
    sending: Sending, seen: Seen, attempt: Attempt, *, now: datetime, policy: Policy
) -> bool:
    if now - sending.sent_at >= policy.resend_after:
        return True
    return attempt.tx_hash not in seen.pooled and _have_passed(
        policy.resend_after_blocks, since=sending.sent_at_block, seen=seen
    )
