"""One round of an operator wallet: the states of its transfers move, and what is due is sent.

What a round needs is recorded, so that any instance can go on with it. Only when what was sent, and
how often an attempt was not found, is memory of this process, and forgotten with the lease.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from services.tx_monitor.adapters.nodes import CallReverted
from services.tx_monitor.adapters.observing import judge_wallet, log_concern, observe_wallet
from services.tx_monitor.adapters.transfer_store import WalletRecords
from services.tx_monitor.adapters.wallet_tools import Memory, Tools
from services.tx_monitor.decisions.actions import (
    choose_action,
    choose_next,
    find_expired,
    find_first_nonce,
)
from services.tx_monitor.decisions.policy import GWEI
from services.tx_monitor.decisions.progress import (
    add_attempt,
    apply_seen,
    build_movement,
    refuse,
)
from services.tx_monitor.decisions.transfers import (
    MINED_STATES,
    Attempt,
    AttemptKind,
    Fees,
    Replace,
    Resend,
    Seen,
    Sending,
    Transfer,
)
from shared.chain.answers import NoAnswer
from shared.chain.transfer_calls import CANCEL_GAS, Call, build_call, max_gas
from shared.db.leases import Lease, NotLeaseHolder
from shared.domain.errors import Transient
from shared.messages.transfers import TransferState
from shared.observe import metrics, tracing

logger = logging.getLogger(__name__)

OBSERVED_EVERY = timedelta(seconds=30)
"""A wallet with nothing to do: for the figures of its money and of the nodes."""
MAX_UNANSWERED = 8
"""So often a round waits in vain for nodes, then begins nothing more: what is open waits with it. A
call that a node takes long for is one proxy's matter; so many are the nodes'."""


class WalletRound:
    """What is decided and written in it names one lease: a round that outlives its lease ends."""

    def __init__(self, operator: str, tools: Tools, memory: Memory, lease: Lease) -> None:
        self._operator, self._tools, self._memory = operator, tools, memory
        self._lease = lease
        self._failures: list[Transient] = []
        self._silent: set[str] = set()
        """The nodes that did not answer to a transaction in this round."""

    async def run(self) -> list[Transient]:
        """Return what failed. Raises: NotLeaseHolder; Transient where nothing could be done."""
        records = await self._tools.store.load(self._operator, now=self._tools.now())
        try:
            await self._do_what_is_due(records)
        except NotLeaseHolder:
            raise
        except Transient as error:
            self._failures.append(error)
        return self._failures

    async def _do_what_is_due(self, records: WalletRecords) -> None:
        self._measure(records)
        queued = await self._expire(records.queued)
        followed = [self._recall(each) for each in records.open_transfers]
        self._memory.keep_only(followed)
        if not followed and not queued and not self._is_observation_due():
            return
        seen = await self._observe(queued, followed, records)
        followed = await self._follow(followed, seen)
        await self._begin_due(queued, followed, seen, records)

    async def _expire(self, queued: Sequence[Transfer]) -> list[Transfer]:
        """Close those whose time is over, and return the others."""
        expired = find_expired(queued, now=self._tools.now())
        for transfer in expired:
            await self._save(transfer)
        closed = {each.terms.request_id for each in expired}
        return [each for each in queued if each.terms.request_id not in closed]

    def _recall(self, transfer: Transfer) -> Transfer:
        lookups, block = self._memory.lookups.get(transfer.terms.request_id, (0, 0))
        return replace(transfer, lookups_without_trace=lookups, looked_up_at_block=block)

    async def _observe(
        self, queued: Sequence[Transfer], followed: Sequence[Transfer], records: WalletRecords
    ) -> Seen:
        """Raises: Transient where no node answered."""
        seen = await observe_wallet(self._operator, followed, self._tools)
        self._memory.observed_at = self._tools.now()
        judge_wallet(self._operator, queued, followed, records, seen, self._tools)
        return seen

    async def _follow(self, transfers: Sequence[Transfer], seen: Seen) -> list[Transfer]:
        """Move their states, all at once, then send what is due of them, in the order of their
        nonces; return them as they are then. One that fails holds up no other.
        """
        moves = [self._move(transfer, seen) for transfer in transfers]
        moved = await asyncio.gather(*moves, return_exceptions=True)
        return [
            await self._act_or_collect(transfer, after, seen)
            for transfer, after in zip(transfers, moved, strict=True)
        ]

    async def _act_or_collect(
        self, transfer: Transfer, after: Transfer | BaseException, seen: Seen
    ) -> Transfer:
        """``after``: the transfer as it was moved, or what failed in that."""
        try:
            if isinstance(after, BaseException):
                raise after
            return await self._act(after, seen)
        except NotLeaseHolder:
            raise
        except Transient as error:
            self._failures.append(error)
            return transfer

    async def _move(self, transfer: Transfer, seen: Seen) -> Transfer:
        after = apply_seen(transfer, seen, policy=self._tools.policy)
        if after != transfer:
            await self._save(after)
        if transfer.state in MINED_STATES and after.state not in MINED_STATES:
            # A reorg undid it: whoever has the new branch may not have any of its attempts.
            for attempt in after.attempts:
                self._memory.sendings.pop(attempt.tx_hash, None)
        lookups = after.lookups_without_trace, after.looked_up_at_block
        self._memory.lookups[after.terms.request_id] = lookups
        return after

    async def _act(self, transfer: Transfer, seen: Seen) -> Transfer:
        action = choose_action(
            transfer,
            seen,
            self._memory.sendings,
            now=self._tools.now(),
            policy=self._tools.policy,
        )
        concern = action.concern if isinstance(action, Resend) else ""
        request_id = transfer.terms.request_id
        if self._memory.changes.is_new(request_id, concern):
            log_concern(f"transfer {request_id}", concern)
        if isinstance(action, Replace):
            return await self._replace(transfer, action, seen)
        if isinstance(action, Resend):
            for attempt in action.attempts:
                await self._send(transfer, attempt, seen)
        return transfer

    async def _replace(self, transfer: Transfer, action: Replace, seen: Seen) -> Transfer:
        assert transfer.nonce is not None
        is_cancel = action.kind is AttemptKind.CANCEL
        attempt = self._sign(
            transfer,
            action.kind,
            nonce=transfer.nonce,
            gas=CANCEL_GAS if is_cancel else transfer.attempts[-1].gas,
            fees=action.fees,
            seen=seen,
        )
        after = add_attempt(transfer, attempt, nonce=transfer.nonce, reason=action.reason)
        await self._tools.store.add_attempt(
            after, attempt, lease=self._lease, now=self._tools.now()
        )
        kind = metrics.SignedAttempt.CANCEL if is_cancel else metrics.SignedAttempt.REPLACEMENT
        metrics.attempt_signed(kind)
        logger.info(
            "transfer %s: attempt %d (%s) with at most %d gwei a gas: %s",
            after.terms.request_id,
            attempt.number,
            attempt.kind,
            attempt.fees.max_fee // GWEI,
            action.reason,
        )
        await self._send(after, attempt, seen)
        return after

    async def _begin_due(
        self,
        queued: Sequence[Transfer],
        followed: Sequence[Transfer],
        seen: Seen,
        records: WalletRecords,
    ) -> None:
        waiting, following = list(queued), list(followed)
        nonce = find_first_nonce(records.next_nonce, seen)
        is_lost = any(each.state is TransferState.LOST for each in followed)
        while nonce is not None and self._count_unanswered() < MAX_UNANSWERED:
            transfer = choose_next(
                waiting,
                following,
                seen,
                now=self._tools.now(),
                halted=is_lost or bool(records.halted_because),
                policy=self._tools.policy,
            )
            if transfer is None:
                return
            waiting.remove(transfer)
            begun = await self._begin(transfer, nonce, seen)
            if begun is not None:
                following.append(begun)
                nonce += 1

    def _count_unanswered(self) -> int:
        return sum(isinstance(each, NoAnswer) for each in self._failures)

    async def _begin(self, transfer: Transfer, nonce: int, seen: Seen) -> Transfer | None:
        """The transfer as it has begun; None where it has not, so that another one may. One that
        fails holds up no other.
        """
        try:
            return await self._begin_unless_refused(transfer, nonce, seen)
        except NotLeaseHolder:
            raise
        except Transient as error:
            self._failures.append(error)
            return None

    async def _begin_unless_refused(
        self, transfer: Transfer, nonce: int, seen: Seen
    ) -> Transfer | None:
        try:
            gas = await self._estimate_gas(transfer, seen)
        except CallReverted as reverted:
            reason = f"the chain would refuse it: {reverted}"
            await self._save(refuse(transfer, reason))
            return None
        attempt = self._sign(
            transfer, AttemptKind.TRANSFER, nonce=nonce, gas=gas, fees=seen.suggested, seen=seen
        )
        begun = add_attempt(transfer, attempt, nonce=nonce)
        await self._tools.store.begin(begun, attempt, lease=self._lease, now=self._tools.now())
        metrics.attempt_signed(metrics.SignedAttempt.FIRST)
        await self._send(begun, attempt, seen)
        return begun

    async def _estimate_gas(self, transfer: Transfer, seen: Seen) -> int:
        """The gas limit of its transaction. Raises: CallReverted; Transient."""
        movement = build_movement(transfer.terms)
        allowed = max_gas(movement)
        needed = await self._tools.nodes.estimate_gas(
            self._operator, build_call(movement), allowed=allowed, heads=seen.heads
        )
        return min(needed * self._tools.policy.gas_margin_percent // 100, allowed)

    def _sign(
        self,
        transfer: Transfer,
        kind: AttemptKind,
        *,
        nonce: int,
        gas: int,
        fees: Fees,
        seen: Seen,
    ) -> Attempt:
        is_cancel = kind is AttemptKind.CANCEL
        call = (
            Call(to=self._operator, data=b"")
            if is_cancel
            else build_call(build_movement(transfer.terms))
        )
        signed = self._tools.keys.sign(self._operator, call, nonce=nonce, gas=gas, fees=fees)
        return Attempt(
            tx_hash=signed.tx_hash,
            number=len(transfer.attempts) + 1,
            kind=kind,
            raw=signed.raw,
            gas=gas,
            fees=fees,
            signed_at=self._tools.now(),
            signed_at_block=seen.head.number,
        )

    async def _send(self, transfer: Transfer, attempt: Attempt, seen: Seen) -> None:
        """Send a recorded attempt to all nodes; those that did not answer in this round are not
        waited for. Raises: NotLeaseHolder.
        """
        self._require_lease()
        request_id = transfer.terms.request_id
        with (
            tracing.continue_trace(transfer.traceparent),
            tracing.start_client_span("send transaction", request_id=request_id),
        ):
            awaited = seen.answered - self._silent
            answers = await self._tools.nodes.send(attempt.raw, awaited=awaited)
        self._silent |= answers.silent
        self._memory.sendings[attempt.tx_hash] = Sending(
            sent_at=self._tools.now(),
            sent_at_block=seen.head.number,
            is_refused=answers.is_refused,
        )
        text = "; ".join(answers.texts)
        if self._memory.changes.is_new(attempt.tx_hash, text) and text:
            logger.info("transfer %s: attempt %s: %s", request_id, attempt.tx_hash, text)

    async def _save(self, transfer: Transfer) -> None:
        await self._tools.store.save(transfer, lease=self._lease, now=self._tools.now())
        logger.log(
            logging.ERROR if transfer.state is TransferState.LOST else logging.INFO,
            "transfer %s is %s%s",
            transfer.terms.request_id,
            transfer.state,
            f": {transfer.reason}" if transfer.reason else "",
        )

    def _is_observation_due(self) -> bool:
        observed_at = self._memory.observed_at
        return observed_at is None or self._tools.now() - observed_at >= OBSERVED_EVERY

    def _measure(self, records: WalletRecords) -> None:
        oldest = records.oldest_requested_at
        age = timedelta(0) if oldest is None else self._tools.now() - oldest
        metrics.transfers_open(
            self._operator,
            in_flight=len(records.open_transfers),
            queued=records.queued_count,
            oldest_s=age // timedelta(seconds=1),
        )
        metrics.wallet_halted(self._operator, is_halted=bool(records.halted_because))

    def _require_lease(self) -> None:
        """Before anything that the database cannot refuse. Raises: NotLeaseHolder."""
        if self._tools.leases.lease_for(self._operator).token != self._lease.token:
            raise NotLeaseHolder("the lease is another one than that of this round")
