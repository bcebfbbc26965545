"""Translates between preflight's values and the rows of its tables."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from services.preflight.adapters.caps import (
    cap_by_scope,
    follow_scope,
    market_scope,
    window_start,
)
from services.preflight.adapters.newest_copies import accounted_through
from services.preflight.decisions import (
    ENTRIES_WINDOW,
    Commitments,
    Exit,
    ExitState,
    FollowPosition,
    RecordedLevel,
    Verdict,
    reserved_usdc,
)
from services.preflight.handler import CommitmentsQuery
from shared.db.rows import Row
from shared.domain.follows import GLOBAL, follower_scope
from shared.domain.money import Side
from shared.messages.intents import Intent, IntentApproved


def build_intent_row(verdict: Verdict, traceparent: str | None) -> dict[str, Any]:
    """The values of its rows in ``preflight.intents``, ``verdicts`` and, where it is approved,
    ``reservations``; a refusal reserves nothing and is settled at once.
    """
    intent = verdict.intent
    row = {
        "intent_id": verdict.intent_id,
        "proxy": intent.proxy,
        "token_id": intent.token_id,
        "verdict": verdict.model_dump_json(),
        "traceparent": traceparent,
        "judged_at": verdict.occurred_at,
        "follow_id": intent.follow_id,
        "side": intent.side,
        "exit_id": exit_id(intent) if intent.side is Side.SELL else "",
        "caps": "{}",
    }
    if isinstance(verdict, IntentApproved):
        return row | {
            "state": "approved",
            "reason": "",
            "reserved_usdc": reserved_usdc(verdict),
            "reserved_shares": verdict.shares,
            "cap_usdc": verdict.usdc,
            "caps": json.dumps(cap_by_scope(verdict)),
            "settled_at": None,
        }
    return row | {
        "state": "refused",
        "reason": verdict.reason,
        "reserved_usdc": 0,
        "reserved_shares": 0,
        "cap_usdc": 0,
        "settled_at": verdict.occurred_at,
    }


def exit_id(intent: Intent) -> str:
    """The exit that an intent to sell is an attempt of."""
    return intent.continues or intent.intent_id


def build_commitments_query(query: CommitmentsQuery, n: int) -> dict[str, Any]:
    """Null stands for what is not limited and not to be read, as for all limits of an exit."""
    intent, limits, now = query.intent, query.limits, query.now
    buys = intent.side is Side.BUY
    counts_entries = buys and limits.max_entries_per_minute is not None
    return {
        "intent_id": intent.intent_id,
        "proxy": intent.proxy,
        "window_start": window_start(now),
        "since": query.since,
        "n": n,
        "follow_scope": follow_scope(intent.follow_id),
        "follower_scope": follower_scope(intent.proxy),
        "market_scope": (
            market_scope(intent.token_id)
            if buys and limits.max_market_daily_usdc is not None
            else None
        ),
        "global_scope": GLOBAL if buys and limits.max_global_daily_usdc is not None else None,
        "counts_positions": buys and limits.max_open_positions is not None,
        "entries_since": now - ENTRIES_WINDOW if counts_entries else None,
        "now": now,
    }


def parse_commitments(row: Row) -> Commitments:
    return Commitments(
        usdc=row.usdc,
        spent_today=row.spent_today,
        follower_spent_today=row.follower_spent_today,
        market_spent_today=row.market_spent_today,
        global_spent_today=row.global_spent_today,
        open_tokens=None if row.open_tokens is None else frozenset(row.open_tokens),
        recent_entries=row.recent_entries,
    )


def build_position_query(intent: Intent, n: int) -> dict[str, Any]:
    return {
        "follow_id": intent.follow_id,
        "token_id": intent.token_id,
        "proxy": intent.proxy,
        "exit_id": exit_id(intent),
        "intent_id": intent.intent_id,
        "n": n,
        "accounted_through": accounted_through(intent),
    }


def build_position(
    intent: Intent,
    held: Row,
    *,
    delayed_entries: Sequence[Row],
    awaited_entries: Sequence[Row],
    exits: Sequence[Exit],
) -> FollowPosition:
    """From the rows of one query; ``held``: the one of ``positions.LOAD_HELD``."""
    own = exit_id(intent)
    others = [each for each in exits if each.exit_id != own]
    return FollowPosition(
        held_shares=held.shares,
        held_by_all_follows=held.of_all_follows,
        reserved_shares=held.reserved_shares,
        open_entries=tuple(held.open_entries),
        delayed_entries=tuple(Intent.model_validate_json(row.intent) for row in delayed_entries),
        open_exits=tuple(each for each in others if each.state is ExitState.OPEN),
        exit=next((each for each in exits if each.exit_id == own), None),
        bought_by_entry={row.intent_id: row.bought for row in awaited_entries},
        size_by_exit={each.exit_id: _known_size(each) for each in others},
        level=_parse_level(held),
    )


def _parse_level(row: Row) -> RecordedLevel | None:
    if row.block_number is None:
        return None
    return RecordedLevel(
        block_number=row.block_number,
        reconciled_through=row.reconciled_through,
        mirrored_through=row.mirrored_through,
        sold_all=row.sold_all,
        is_traded_since=row.is_traded_since,
    )


def _known_size(exit_: Exit) -> int | None:
    """What the exit sells in all; an exit that ended before its size was known sells nothing."""
    if exit_.shares is None and exit_.state is not ExitState.OPEN:
        return 0
    return exit_.shares


def build_exit_row(exit_: Exit, *, now: datetime) -> Mapping[str, Any]:
    intent = exit_.intent
    return {
        "exit_id": exit_.exit_id,
        "proxy": intent.proxy,
        "leader": intent.leader,
        "follow_id": intent.follow_id,
        "token_id": intent.token_id,
        "intent": intent.model_dump_json(),
        "base_shares": exit_.base_shares,
        "awaited_entries": json.dumps(exit_.awaited_entries),
        "awaited_exits": json.dumps(exit_.awaited_exits),
        "shares": exit_.shares,
        "sold_shares": exit_.sold_shares,
        "attempts": exit_.attempts,
        "state": exit_.state,
        "reason": exit_.reason,
        "next_attempt_at": exit_.next_attempt_at,
        "expires_at": exit_.expires_at,
        "updated_at": now,
        "traceparent": exit_.traceparent,
    }


def build_attempt_row(exit_: Exit, attempt_id: str, *, now: datetime) -> dict[str, Any]:
    """The row of an exit beside that of the intent that is an attempt of it."""
    row = {f"exit_{name}": value for name, value in build_exit_row(exit_, now=now).items()}
    return {"exit_attempt_id": attempt_id, **row}


VERDICT: TypeAdapter[Verdict] = TypeAdapter(Verdict)


def parse_verdict(stored: str) -> Verdict:
    return VERDICT.validate_json(stored)


def parse_intent(stored: str) -> Intent:
    """A stored intent. What a newer release has added to it is left out, as after a rollback."""
    return Intent.model_validate_json(stored, extra="ignore")


def parse_exit(row: Row) -> Exit:
    return Exit(
        intent=parse_intent(row.intent),
        base_shares=row.base_shares,
        awaited_entries=tuple(row.awaited_entries),
        awaited_exits=tuple(row.awaited_exits),
        shares=row.shares,
        sold_shares=row.sold_shares,
        attempts=row.attempts,
        state=ExitState(row.state),
        reason=row.reason,
        next_attempt_at=row.next_attempt_at,
        expires_at=row.expires_at,
        traceparent=row.traceparent,
    )
