"""Whatever chain, pool, nodes and crashes do, in any order: no transfer is made twice, none is
reported wrongly, and when the faults end, each one ends.
"""

from collections.abc import Set
from dataclasses import replace
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.tx_monitor.decisions.actions import (
    choose_action,
    choose_next,
    find_expired,
    find_first_nonce,
)
from services.tx_monitor.decisions.policy import GWEI, Policy
from services.tx_monitor.decisions.progress import add_attempt, apply_seen
from services.tx_monitor.decisions.transfers import (
    CLOSED_STATES,
    MINED_STATES,
    OPEN_STATES,
    Attempt,
    AttemptKind,
    Fees,
    Replace,
    Resend,
    Seen,
    Sending,
    Transfer,
)
from services.tx_monitor.decisions.views import merge_views
from shared.messages.transfers import Direction, TransferState
from tests.unit.tx_monitor.transfer_facts import SECOND, build_terms, name_hash
from tests.unit.tx_monitor.transfer_world import (
    Mined,
    Tx,
    World,
    count_effects,
    count_nonces,
    find_user,
)

POLICY = Policy(max_in_flight=3, max_bumps=4)
PROXIES = [f"0x{number:040x}" for number in range(0xB00, 0xB05)]
NOTHING_MOVED = {
    TransferState.FINAL_REVERTED,
    TransferState.CANCELLED,
    TransferState.EXPIRED,
    TransferState.REFUSED,
}
NODES = st.frozensets(st.sampled_from("ab"))
OUTCOMES = st.sampled_from(["moved", "moved", "reverted", "nothing"])
FEW = st.integers(min_value=1, max_value=4)


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.transfers: dict[str, Transfer] = {}
        """What is recorded; the rest is what the process remembers."""
        self.next_nonce = 0
        self.halted = False
        self.sendings: dict[str, Sending] = {}
        self.closed: dict[str, Transfer] = {}
        self.signed = 0

    # What is asked for, and what the process does

    @precondition(lambda self: self.count_unsettled() < 5)
    @rule(
        proxy=st.sampled_from(PROXIES),
        direction=st.sampled_from(Direction),
        seconds=st.sampled_from([None, 20, 60]),
    )
    def request(self, proxy: str, direction: Direction, seconds: int | None) -> None:
        name = f"r{len(self.transfers)}"
        deadline = None if seconds is None else self.world.now + seconds * SECOND
        terms = build_terms(name, proxy=proxy, direction=direction, send_before=deadline)
        self.transfers[name] = Transfer(terms=terms)
        self.round_without_faults()

    @rule(stale=NODES, silent=NODES, torn=NODES, dies=st.booleans())
    def round(self, stale: Set[str], silent: Set[str], torn: Set[str], dies: bool) -> None:
        """Nodes are asked, states move, and what is due is recorded and sent; ``dies``: between
        the two.
        """
        seen = self.see(stale, silent, torn)
        if seen is None:
            return
        for name, transfer in self.transfers.items():
            self.record(name, apply_seen(transfer, seen, policy=POLICY))
        queued = [e for e in self.transfers.values() if e.state is TransferState.QUEUED]
        for expired in find_expired(queued, now=self.world.now):
            self.record(expired.terms.request_id, expired)
        for name in list(self.transfers):
            self.act(name, seen, dies=dies)
        self.begin(seen, dies=dies)
        if dies:
            self.crash()

    def round_without_faults(self) -> None:
        self.round(frozenset(), frozenset(), frozenset(), dies=False)

    def count_unsettled(self) -> int:
        return sum(each.state not in CLOSED_STATES for each in self.transfers.values())

    def see(self, stale: Set[str], silent: Set[str], torn: Set[str]) -> Seen | None:
        opened = [e for e in self.transfers.values() if e.state in OPEN_STATES]
        hashes = {attempt.tx_hash for each in opened for attempt in each.attempts}
        heights = {each.block_number for each in opened if each.block_number is not None}
        views = []
        for node in self.world.nodes:
            if node.name not in stale:
                self.world.synchronize(node)
            if node.name not in silent:
                is_torn = node.name in torn
                views.append(self.world.show(node, hashes, heights, torn=is_torn))
        if not views:
            return None
        return merge_views(views, asked=2, now=self.world.now, policy=POLICY)

    def record(self, name: str, changed: Transfer) -> None:
        before = self.transfers[name]
        assert before.state not in CLOSED_STATES or changed == before
        if before.state in MINED_STATES and changed.state not in MINED_STATES:
            for attempt in changed.attempts:
                self.sendings.pop(attempt.tx_hash, None)
        self.transfers[name] = changed
        self.halted = self.halted or changed.state is TransferState.LOST

    def act(self, name: str, seen: Seen, *, dies: bool) -> None:
        transfer = self.transfers[name]
        action = choose_action(transfer, seen, self.sendings, now=self.world.now, policy=POLICY)
        if isinstance(action, Resend):
            for attempt in action.attempts:
                assert attempt in transfer.attempts
                self.send(transfer, attempt, seen)
        elif isinstance(action, Replace):
            assert transfer.nonce is not None
            nonce, reason = transfer.nonce, action.reason
            self.sign(name, nonce, action.kind, action.fees, seen, reason=reason, dies=dies)

    def begin(self, seen: Seen, *, dies: bool) -> None:
        while True:
            recorded = list(self.transfers.values())
            chosen = choose_next(
                [each for each in recorded if each.state is TransferState.QUEUED],
                [each for each in recorded if each.state in OPEN_STATES],
                seen,
                now=self.world.now,
                halted=self.halted,
                policy=POLICY,
            )
            if chosen is None:
                return
            assert not self.halted
            nonce = find_first_nonce(self.next_nonce, seen)
            if nonce is None:
                return
            self.next_nonce = nonce + 1
            kind = AttemptKind.TRANSFER
            self.sign(chosen.terms.request_id, nonce, kind, seen.suggested, seen, dies=dies)

    def sign(
        self,
        name: str,
        nonce: int,
        kind: AttemptKind,
        fees: Fees,
        seen: Seen,
        *,
        dies: bool,
        reason: str = "",
    ) -> None:
        """Recorded in one transaction, before a byte is sent."""
        transfer = self.transfers[name]
        self.signed += 1
        attempt = Attempt(
            tx_hash=name_hash(1 << 200 | self.signed),
            number=len(transfer.attempts) + 1,
            kind=kind,
            raw=b"",
            gas=120_000 if kind is AttemptKind.TRANSFER else 21_000,
            fees=fees,
            signed_at=self.world.now,
            signed_at_block=seen.head.number,
        )
        self.record(name, add_attempt(transfer, attempt, nonce=nonce, reason=reason))
        if not dies:
            self.send(self.transfers[name], attempt, seen)

    def send(self, transfer: Transfer, attempt: Attempt, seen: Seen) -> None:
        self.world.release(transfer, attempt)
        self.sendings[attempt.tx_hash] = Sending(
            sent_at=self.world.now, sent_at_block=seen.head.number
        )

    @rule()
    def crash(self) -> None:
        self.sendings = {}
        self.transfers = {
            name: replace(each, lookups_without_trace=0) for name, each in self.transfers.items()
        }

    # What the chain does

    @rule(pick=st.integers(0, 9), outcome=OUTCOMES, is_seen=st.booleans())
    def mine(self, pick: int, outcome: str, is_seen: bool) -> None:
        """Any attempt with the next nonce, also an older one and one that a pool dropped."""
        minable = self.world.list_minable()
        mined = [Mined(tx=minable[pick % len(minable)], outcome=outcome)] if minable else []
        self.world.add_block(*mined)
        if is_seen:
            self.round_without_faults()

    @rule(blocks=st.integers(1, 6), seconds=st.sampled_from([1, 2, 9]), stale=NODES, silent=NODES)
    def stall(self, blocks: int, seconds: int, stale: Set[str], silent: Set[str]) -> None:
        """Blocks without a transaction of the wallet."""
        for _ in range(blocks):
            self.world.now += seconds * SECOND
            self.world.add_block()
            self.round(stale, silent, frozenset(), dies=False)

    @rule(blocks=FEW, seconds=st.sampled_from([1, 2, 3]))
    def go_on(self, blocks: int, seconds: int) -> None:
        """Some blocks and rounds without a fault."""
        for _ in range(blocks):
            self.world.now += seconds * SECOND
            self.world.add_best_block()
            self.round_without_faults()

    @precondition(lambda self: len(self.world.chain) > 15)
    @rule()
    def mine_foreign(self) -> None:
        nonce = count_nonces(self.world.chain)
        tx = Tx(attempt=None, transfer=None, nonce=nonce)
        self.world.add_block(Mined(tx=tx, outcome="moved"))

    @rule(pick=st.integers(0, 9))
    def drop(self, pick: int) -> None:
        pooled = sorted(self.world.pooled)
        if pooled:
            self.world.pooled.remove(pooled[pick % len(pooled)])

    @rule(depth=FEW, more=st.integers(-2, 2))
    def reorganize(self, depth: int, more: int) -> None:
        self.world.reorganize(depth, max(depth + more, 0))

    @rule(behind=st.integers(0, 3))
    def finalize(self, behind: int) -> None:
        height = len(self.world.chain) - 1 - behind
        self.world.finalized = max(self.world.finalized, height)

    @rule(seconds=st.sampled_from([1, 9, 31, 70]))
    def wait(self, seconds: int) -> None:
        self.world.now += timedelta(seconds=seconds)

    @rule(gwei=st.sampled_from([50, 50, 200, 700, 1600]))
    def change_base_fee(self, gwei: int) -> None:
        self.world.base_fee = gwei * GWEI

    @rule(wei=st.sampled_from([0, 2 * 10**16, 10**20]))
    def change_gas_money(self, wei: int) -> None:
        self.world.gas_balance = wei

    # What always holds

    @invariant()
    def each_nonce_has_one_transfer_for_ever(self) -> None:
        nonces = [e.nonce for e in self.transfers.values() if e.nonce is not None]
        assert len(set(nonces)) == len(nonces)
        for tx in self.world.released.values():
            assert tx.transfer is not None
            assert self.transfers[tx.transfer.terms.request_id].nonce == tx.nonce

    @invariant()
    def nothing_is_moved_twice(self) -> None:
        for name in self.transfers:
            assert count_effects(self.world.chain, name) <= 1

    @invariant()
    def a_closed_transfer_says_what_is_true_for_ever(self) -> None:
        final = self.world.chain[: self.world.finalized + 1]
        for name, transfer in self.transfers.items():
            if transfer.state in CLOSED_STATES:
                assert self.closed.setdefault(name, transfer).state is transfer.state
            if transfer.state is TransferState.FINAL:
                assert count_effects(final, name) == 1
            elif transfer.state in NOTHING_MOVED:
                assert count_effects(self.world.chain, name) == 0
            elif transfer.state is TransferState.LOST:
                assert transfer.nonce is not None
                user = find_user(final, transfer.nonce)
                assert user is not None
                assert user.attempt is None

    @invariant()
    def a_proxy_has_one_open_transfer(self) -> None:
        opened = [e for e in self.transfers.values() if e.state in OPEN_STATES]
        proxies = [each.terms.proxy for each in opened]
        assert len(set(proxies)) == len(proxies)

    @invariant()
    def each_attempt_raises_both_fees_and_none_transfers_after_a_cancel(self) -> None:
        for transfer in self.transfers.values():
            for first, second in zip(transfer.attempts, transfer.attempts[1:], strict=False):
                assert second.fees.max_fee * 10 >= first.fees.max_fee * 11
                assert second.fees.tip * 10 >= first.fees.tip * 11
                assert second.fees.tip <= second.fees.max_fee <= POLICY.cancel_cap
                assert first.kind is AttemptKind.TRANSFER or second.kind is AttemptKind.CANCEL

    @invariant()
    def what_was_sent_is_what_was_recorded(self) -> None:
        recorded = {a.tx_hash for each in self.transfers.values() for a in each.attempts}
        assert self.world.released.keys() <= recorded

    def teardown(self) -> None:
        """The faults end: all that is not lost is closed; a halted wallet begins nothing."""
        self.world.base_fee, self.world.gas_balance = 50 * GWEI, 10**20
        for _ in range(30 + 25 * len(self.transfers)):
            if all(self.is_settled(each) for each in self.transfers.values()):
                break
            self.world.now += 3 * SECOND
            self.world.add_best_block()
            self.finalize(2)
            self.round_without_faults()
            self.a_closed_transfer_says_what_is_true_for_ever()
        assert [e for e in self.transfers.values() if not self.is_settled(e)] == []

    def is_settled(self, transfer: Transfer) -> bool:
        if self.halted and transfer.state is TransferState.QUEUED:
            return True
        return transfer.state in CLOSED_STATES


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
