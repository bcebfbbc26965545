"""The demo's checks: each compares two independent sources of the same fact. Pure.

What an unresolved copy did is not known yet: it is named, and the positions and balances that it
may change are left out of the comparison.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cli.demo.copies import APPROVED, Verdict
from cli.demo.figures import OpenCopy, OrderRecord
from shared.domain.money import as_decimal

MAX_NAMED = 3
"""How many differences a check names."""

FILLED = ("matched", "confirmed")

K = TypeVar("K")

Position = tuple[str, str]
"""A proxy and a token id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The facts from every source. Amounts in micro-USDC and micro-shares."""

    leader_trades_made: int
    """As the venue counts them."""
    leader_trades_on_chain: frozenset[str]
    """Trade ids from the exchange's logs of the leaders."""
    leader_trades_seen: frozenset[str]
    """Trade ids in ingest's records."""
    intents: frozenset[str]
    """Published on copy-intents."""
    verdicts: Mapping[str, Verdict]
    """Published on approved-intents and copy-outcomes, by intent."""
    verdicts_recorded: frozenset[str]
    """Intents in preflight's records."""
    orders: tuple[OrderRecord, ...]
    """Executor's records."""
    venue_matches: int
    """Matches of followers' orders, as the venue counts them."""
    fills_on_chain: frozenset[str]
    """Order hashes from the exchange's logs of the followers."""
    positions: Mapping[Position, int]
    """Shares in our records."""
    positions_of_follows: Mapping[Position, int]
    """Shares that preflight counts for each follow, added up: what exits may sell."""
    positions_on_chain: Mapping[Position, int]
    cash: Mapping[str, int]
    """What each proxy has received minus paid since the start, in our records."""
    cash_on_chain: Mapping[str, int]
    """How each proxy's pUSD has changed since the start."""
    dead_letters: tuple[str, ...]
    open_copies: tuple[OpenCopy, ...]
    """Copies that are not final in the services' records."""
    unfinished: tuple[str, ...]
    """What else is unfinished, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    name: str
    left: str
    """The first source and its figure."""
    right: str
    """The second source and its figure."""
    wrong: tuple[str, ...]
    """What differs, with some examples. Empty: the check held."""
    is_about_open_copies: bool = False
    """Whether unresolved copies are all that makes it fail."""

    @property
    def held(self) -> bool:
        return not self.wrong


def every_leader_trade_was_seen(evidence: Evidence) -> Check:
    made, on_chain, seen = (
        evidence.leader_trades_made,
        evidence.leader_trades_on_chain,
        evidence.leader_trades_seen,
    )
    wrong = _set_differences(
        on_chain, seen, only_left="on the chain, never seen", only_right="seen, not on the chain"
    )
    if made != len(on_chain):
        wrong = (f"the venue counts {made}, the chain has {len(on_chain)}", *wrong)
    if made == 0:
        wrong = ("the leaders made no trade: nothing was tested", *wrong)
    return Check(
        name="every leader trade was seen",
        left=f"venue {made}, chain {len(on_chain)}",
        right=f"ingest {len(seen)}",
        wrong=wrong,
    )


def every_intent_has_one_verdict(evidence: Evidence) -> Check:
    published, intents = frozenset(evidence.verdicts), evidence.intents
    both = [
        f"{intent_id}: approved and refused"
        for intent_id, verdict in evidence.verdicts.items()
        if verdict.contradicted
    ]
    wrong = (
        *_set_differences(
            intents,
            published,
            only_left="intended, never judged",
            only_right="judged, never intended",
        ),
        *_set_differences(
            published,
            evidence.verdicts_recorded,
            only_left="published, not recorded",
            only_right="recorded, not published",
        ),
        *both[:MAX_NAMED],
    )
    return Check(
        name="every intent has exactly one verdict",
        left=f"intents {len(intents)}",
        right=f"verdicts published {len(published)}, recorded {len(evidence.verdicts_recorded)}",
        wrong=wrong,
    )


def every_approval_has_one_order(evidence: Evidence) -> Check:
    approved = frozenset(
        intent_id for intent_id, verdict in evidence.verdicts.items() if verdict.kind == APPROVED
    )
    ordered = [order.intent_id for order in evidence.orders]
    wrong = _set_differences(
        approved,
        frozenset(ordered),
        only_left="approved, no order",
        only_right="ordered, not approved",
    )
    if len(ordered) != len(set(ordered)):
        wrong = (f"{len(ordered) - len(set(ordered))} intents have more than one order", *wrong)
    return Check(
        name="one order per approved intent",
        left=f"approved {len(approved)}",
        right=f"orders {len(ordered)}",
        wrong=wrong,
    )


def fills_agree(evidence: Evidence) -> Check:
    undecided = frozenset(copy.order_hash for copy in evidence.open_copies)
    ours = (
        frozenset(order.order_hash for order in evidence.orders if order.state in FILLED)
        - undecided
    )
    on_chain = evidence.fills_on_chain - undecided
    wrong = _set_differences(
        ours, on_chain, only_left="ours, not on the chain", only_right="on the chain, not ours"
    )
    failed = sum(order.state == "failed" for order in evidence.orders)
    decided = len(ours) + failed
    left_out = _note_left_out(len(undecided), "unresolved")
    if not decided <= evidence.venue_matches <= decided + len(undecided):
        wrong = (
            f"the venue counts {evidence.venue_matches} matches, we {len(ours)} filled and "
            f"{failed} failed orders",
            *wrong,
        )
    return Check(
        name="the venue and the chain know exactly our filled orders",
        left=f"ours {len(ours)}",
        right=f"venue {evidence.venue_matches - failed}, chain {len(on_chain)}{left_out}",
        wrong=wrong,
    )


def positions_agree(evidence: Evidence) -> Check:
    return _compare_positions(
        evidence,
        evidence.positions_on_chain,
        name="positions equal the chain's balances",
        sides=("ours", "chain"),
    )


def follows_add_up(evidence: Evidence) -> Check:
    return _compare_positions(
        evidence,
        evidence.positions_of_follows,
        name="what the follows hold adds up to the positions",
        sides=("positions", "follows"),
    )


def _compare_positions(
    evidence: Evidence, others: Mapping[Position, int], *, name: str, sides: tuple[str, str]
) -> Check:
    undecided = frozenset((copy.proxy, copy.token_id) for copy in evidence.open_copies)
    left, right = _without(evidence.positions, undecided), _without(others, undecided)
    left_out = _note_left_out(len(undecided), "with an unresolved copy")
    return Check(
        name=name,
        left=f"{sides[0]} {_describe(left)}",
        right=f"{sides[1]} {_describe(right)}{left_out}",
        wrong=_amount_differences(
            left,
            right,
            name=lambda key: f"{_shorten(key[0])} of token {_shorten(key[1])}",
            sides=sides,
        ),
    )


def cash_agrees(evidence: Evidence) -> Check:
    undecided = frozenset(copy.proxy for copy in evidence.open_copies)
    ours, on_chain = _without(evidence.cash, undecided), _without(evidence.cash_on_chain, undecided)
    left_out = _note_left_out(len(undecided), "with an unresolved copy")
    return Check(
        name="pUSD changed by exactly what our trades paid and received",
        left=f"ours {as_decimal(sum(ours.values()))} USDC of {len(on_chain)} followers",
        right=f"chain {as_decimal(sum(on_chain.values()))} USDC{left_out}",
        wrong=_amount_differences(ours, on_chain, name=_shorten),
    )


def no_dead_letters(evidence: Evidence) -> Check:
    dead_letters = evidence.dead_letters
    return Check(
        name="no dead letters",
        left="expected 0",
        right=f"found {len(dead_letters)}",
        wrong=_limit(dead_letters),
    )


def no_copy_is_unresolved(evidence: Evidence) -> Check:
    open_copies = [
        f"{copy.intent_id} of {_shorten(copy.proxy)} is {copy.state}"
        for copy in evidence.open_copies
    ]
    return Check(
        name="no copy is unresolved",
        left="expected 0",
        right=f"found {len(open_copies)}",
        wrong=_limit(open_copies),
        is_about_open_copies=True,
    )


def nothing_else_is_unfinished(evidence: Evidence) -> Check:
    unfinished = evidence.unfinished
    return Check(
        name="nothing else is unfinished",
        left="expected 0",
        right=f"found {len(unfinished)}",
        wrong=_limit(unfinished),
    )


CHECKS: tuple[Callable[[Evidence], Check], ...] = (
    every_leader_trade_was_seen,
    every_intent_has_one_verdict,
    every_approval_has_one_order,
    fills_agree,
    positions_agree,
    follows_add_up,
    cash_agrees,
    no_dead_letters,
    no_copy_is_unresolved,
    nothing_else_is_unfinished,
)


def run_checks(evidence: Evidence) -> tuple[Check, ...]:
    return tuple(check(evidence) for check in CHECKS)


def _set_differences(
    left: Collection[str], right: Collection[str], *, only_left: str, only_right: str
) -> tuple[str, ...]:
    groups = (
        (only_left, sorted(set(left) - set(right))),
        (only_right, sorted(set(right) - set(left))),
    )
    return tuple(
        f"{len(ids)} {what}: {', '.join(map(_shorten, ids[:MAX_NAMED]))}"
        for what, ids in groups
        if ids
    )


def _amount_differences(
    left: Mapping[K, int],
    right: Mapping[K, int],
    *,
    name: Callable[[K], str],
    sides: tuple[str, str] = ("ours", "chain"),
) -> tuple[str, ...]:
    differing = [key for key in {**left, **right} if left.get(key, 0) != right.get(key, 0)]
    differences = [
        f"{name(key)}: {sides[0]} {as_decimal(left.get(key, 0))}, "
        f"{sides[1]} {as_decimal(right.get(key, 0))}"
        for key in differing
    ]
    return _limit(differences)


def _limit(texts: Sequence[str]) -> tuple[str, ...]:
    more = len(texts) - MAX_NAMED
    return (*texts[:MAX_NAMED], *([f"and {more} more"] if more > 0 else []))


def _without(amounts: Mapping[K, int], undecided: Collection[K]) -> dict[K, int]:
    return {key: amount for key, amount in amounts.items() if key not in undecided}


def _note_left_out(count: int, what: str) -> str:
    return f" ({count} {what} left out)" if count else ""


def _describe(positions: Mapping[Position, int]) -> str:
    held = sum(shares != 0 for shares in positions.values())
    return f"{held} positions, {as_decimal(sum(positions.values()))} shares"


def _shorten(text: str) -> str:
    return text if len(text) <= 12 else f"{text[:6]}…{text[-4:]}"
