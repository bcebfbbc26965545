"""Parses query strings to the Data API; anything malformed is refused."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Self

from aiohttp import web
from eth_utils.address import is_address

from services.paper_venue.data_api.activity_index import Activity, ActivityType
from services.paper_venue.data_api.rows import PositionView
from services.paper_venue.exchange.orders import condition_key
from services.paper_venue.http.requests import BadRequest
from shared.domain.money import Side

_MAX_CONDITIONS = 20
_ID_LENGTHS = (64, 66)
"""Of condition ids in characters: those of v2 markets are also written with 31 bytes."""
_DUST_SHARES = Decimal("0.1")
_DUST_TRADE = Decimal("0.01")
_MICRO = 1_000_000
_TRANSFER_TYPES = (ActivityType.DEPOSIT, ActivityType.WITHDRAWAL)
SORTS = (
    "CURRENT_VALUE",
    "PRICE",
    "TOKENS",
    "UNREALIZED_PNL",
    "REALIZED_PNL",
    "TOTAL_PNL",
    "TIMESTAMP",
)
STATUSES = ("OPEN", "REDEEMABLE", "REDEEMABLE_LOST", "MERGEABLE", "CLOSED")


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimumSize:
    """The size below which rows are hidden, in shares or in USDC."""

    amount: Decimal
    is_cash: bool

    def is_reached(self, *, shares: int, usdc: Decimal) -> bool:
        """``shares`` in micro-shares, ``usdc`` in USDC."""
        return (usdc if self.is_cash else Decimal(shares) / _MICRO) >= self.amount


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedQuery:
    """The requested rows of a feed; None: any. Times in epoch seconds, both ends inclusive;
    conditions by `condition_key`.
    """

    user: str | None
    conditions: frozenset[str] | None
    side: Side | None
    start: int
    end: int | None
    ascending: bool

    @classmethod
    def parse(cls, request: web.Request, *, conditions: frozenset[str] | None) -> Self:
        """Raises: BadRequest."""
        side = _parse_choice(request, "side", ("BUY", "SELL"))
        return cls(
            user=_parse_user(request),
            conditions=conditions,
            side=None if side is None else Side(side),
            start=_parse_seconds(request, "start"),
            end=_parse_seconds(request, "end") or None,
            ascending=_parse_choice(request, "sort_direction", ("ASC", "DESC")) == "ASC",
        )

    def matches(self, row: Activity) -> bool:
        return (
            row.timestamp >= self.start
            and (self.end is None or row.timestamp <= self.end)
            and (self.conditions is None or row.condition in self.conditions)
            and (self.side is None or row.side is self.side)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TradesQuery:
    """``taker_only``: one row for each match, its taker's; else one for each filled order."""

    feed: FeedQuery
    taker_only: bool
    minimum: MinimumSize

    @classmethod
    def parse(cls, request: web.Request, *, conditions: frozenset[str] | None) -> Self:
        """Raises: BadRequest."""
        feed = FeedQuery.parse(request, conditions=conditions)
        return cls(
            feed=feed,
            taker_only=_parse_flag(request, "taker_only", default=True),
            minimum=_parse_minimum(request, _DUST_TRADE),
        )

    def matches(self, row: Activity) -> bool:
        return (
            row.type is ActivityType.TRADE
            and (row.is_taker or not self.taker_only)
            and self.minimum.is_reached(shares=row.shares, usdc=Decimal(row.usdc) / _MICRO)
            and self.feed.matches(row)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityQuery:
    """``types``: activity types; None: any. ``excludes_transfers``: no deposits and withdrawals."""

    feed: FeedQuery
    types: frozenset[str] | None
    excludes_transfers: bool

    @classmethod
    def parse(cls, request: web.Request, *, conditions: frozenset[str] | None) -> Self:
        """Raises: BadRequest."""
        feed = FeedQuery.parse(request, conditions=conditions)
        if feed.user is None:
            raise BadRequest("user is required")
        types = _parse_list(request, "type")
        return cls(
            feed=feed,
            types=None if types is None else frozenset(name.upper() for name in types),
            excludes_transfers=_parse_flag(request, "exclude_deposits_withdrawals", default=True),
        )

    def matches(self, row: Activity) -> bool:
        is_matching_type = self.types is None or row.type in self.types
        return (
            is_matching_type
            and not (self.excludes_transfers and row.type in _TRANSFER_TYPES)
            and self.feed.matches(row)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsQuery:
    """``status``, ``sort`` and ``ascending``: None: the cursor's value or the default applies."""

    user: str | None
    conditions: frozenset[str] | None
    status: str | None
    title: str
    minimum: MinimumSize
    sort: str | None
    ascending: bool | None
    start: int
    end: int | None

    @classmethod
    def parse(cls, request: web.Request, *, conditions: frozenset[str] | None) -> Self:
        """Raises: BadRequest."""
        user, direction = (
            _parse_user(request),
            _parse_choice(request, "sort_direction", ("ASC", "DESC")),
        )
        if user is None and (conditions is None or len(conditions) != 1):
            raise BadRequest("user or exactly one condition is required")
        return cls(
            user=user,
            conditions=conditions,
            status=_parse_choice(request, "status", STATUSES),
            title=(read_parameter(request, "title") or "").strip().lower(),
            minimum=_parse_minimum(request, _DUST_SHARES),
            sort=_parse_choice(request, "sort_by", SORTS),
            ascending=None if direction is None else direction == "ASC",
            start=_parse_seconds(request, "start"),
            end=_parse_seconds(request, "end") or None,
        )

    def matches(self, view: PositionView, status: str) -> bool:
        moment = view.holding.last_at
        return (
            _has_status(view, status)
            and (
                status == "CLOSED"
                or self.minimum.is_reached(shares=view.holding.held, usdc=view.value)
            )
            and self.title in view.market.question.lower()
            and moment >= self.start
            and (self.end is None or moment <= self.end)
        )


def _has_status(view: PositionView, status: str) -> bool:
    if status == "MERGEABLE":
        return view.is_mergeable
    if status == "REDEEMABLE_LOST":
        return view.status == "REDEEMABLE" and view.price == 0
    return view.status == status


def read_parameter(request: web.Request, name: str) -> str | None:
    """A parameter in either spelling that the Data API accepts: snake_case or camelCase."""
    first, *rest = name.split("_")
    return request.query.get(
        name, request.query.get(first + "".join(word.capitalize() for word in rest))
    )


def parse_conditions(request: web.Request) -> frozenset[str] | None:
    """At most twenty conditions, comma separated, under any of the parameter's names; by
    `condition_key`. None: any. Raises: BadRequest.
    """
    listed = _parse_list(request, "condition") or _parse_list(request, "condition_id")
    if listed is None:
        return None
    for each in listed:
        if (
            not each.startswith("0x")
            or len(each) not in _ID_LENGTHS
            or not set(each[2:].lower()) <= set("0123456789abcdef")
        ):
            raise BadRequest(f"invalid condition: {each[:80]}")
    conditions = frozenset(condition_key(each) for each in listed)
    if len(conditions) > _MAX_CONDITIONS:
        raise BadRequest(f"at most {_MAX_CONDITIONS} conditions")
    return conditions


def parse_event_ids(request: web.Request) -> frozenset[str] | None:
    """Event ids, comma separated; None: any. Raises: BadRequest."""
    listed = _parse_list(request, "event_id")
    if listed is not None and not all(each.isdecimal() for each in listed):
        raise BadRequest("invalid event_id")
    return None if listed is None else frozenset(listed)


def _parse_list(request: web.Request, name: str) -> list[str] | None:
    text = read_parameter(request, name)
    return None if not text else [part.strip() for part in text.split(",") if part.strip()]


def _parse_user(request: web.Request) -> str | None:
    user = read_parameter(request, "user")
    if user is not None and not is_address(user):
        raise BadRequest("invalid user address")
    return user


def _parse_choice(request: web.Request, name: str, choices: tuple[str, ...]) -> str | None:
    text = read_parameter(request, name)
    if text is None:
        return None
    if text.upper() not in choices:
        raise BadRequest(f"{name} must be one of {', '.join(choices)}")
    return text.upper()


def _parse_flag(request: web.Request, name: str, *, default: bool) -> bool:
    text = read_parameter(request, name)
    if text is None:
        return default
    if text.lower() not in ("true", "false"):
        raise BadRequest(f"{name} must be true or false")
    return text.lower() == "true"


def _parse_seconds(request: web.Request, name: str) -> int:
    text = read_parameter(request, name) or "0"
    if not text.isascii() or not text.isdecimal():
        raise BadRequest(f"{name} must be epoch seconds")
    return int(text)


def _parse_minimum(request: web.Request, default_shares: Decimal) -> MinimumSize:
    text, is_cash = (
        read_parameter(request, "filter_amount"),
        _parse_choice(request, "filter_type", ("CASH", "TOKENS")) == "CASH",
    )
    if text is None:
        return MinimumSize(amount=default_shares, is_cash=False)
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise BadRequest("filter_amount must be a number") from error
    if not amount.is_finite() or amount < 0:
        raise BadRequest("filter_amount must not be negative")
    return MinimumSize(amount=amount, is_cash=is_cash)
