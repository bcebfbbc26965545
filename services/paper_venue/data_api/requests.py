"""What does a request to the Data API ask for? Query strings to values; anything malformed is
refused.
"""

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

_MOST_CONDITIONS = 20
_ID_LENGTHS = (64, 66)
"""Of condition ids: a v2 market also goes by 31 bytes."""
_DUST_SHARES = Decimal("0.1")
_DUST_TRADE = Decimal("0.01")
_MICRO = 1_000_000
_MONEY_TYPES = (ActivityType.DEPOSIT, ActivityType.WITHDRAWAL)
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
class Floor:
    """The smallest rows that are shown: by shares, or by USDC."""

    amount: Decimal
    is_cash: bool

    def admits(self, *, shares: int, usdc: Decimal) -> bool:
        """``shares`` in micro-shares, ``usdc`` in USDC."""
        return (usdc if self.is_cash else Decimal(shares) / _MICRO) >= self.amount


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedQuery:
    """Which rows of a feed are wanted; None: any. Times in seconds, both ends inclusive; conditions
    by `condition_key`.
    """

    user: str | None
    conditions: frozenset[str] | None
    side: Side | None
    start: int
    end: int | None
    ascending: bool

    @classmethod
    def of(cls, request: web.Request, *, conditions: frozenset[str] | None) -> Self:
        """Raises: BadRequest."""
        side = _choice(request, "side", ("BUY", "SELL"))
        return cls(
            user=_user(request),
            conditions=conditions,
            side=None if side is None else Side(side),
            start=_seconds(request, "start"),
            end=_seconds(request, "end") or None,
            ascending=_choice(request, "sort_direction", ("ASC", "DESC")) == "ASC",
        )

    def admits(self, row: Activity) -> bool:
        return (
            row.timestamp >= self.start
            and (self.end is None or row.timestamp <= self.end)
            and (self.conditions is None or row.condition in self.conditions)
            and (self.side is None or row.side is self.side)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TradesQuery:
    """``taker_only``: one row for each match, its taker's; else one for each order that it filled."""

    feed: FeedQuery
    taker_only: bool
    floor: Floor

    @classmethod
    def of(cls, request: web.Request, *, conditions: frozenset[str] | None) -> Self:
        """Raises: BadRequest."""
        feed = FeedQuery.of(request, conditions=conditions)
        return cls(
            feed=feed,
            taker_only=_flag(request, "taker_only", default=True),
            floor=_floor(request, _DUST_TRADE),
        )

    def admits(self, row: Activity) -> bool:
        return (
            row.type is ActivityType.TRADE
            and (row.is_taker or not self.taker_only)
            and self.floor.admits(shares=row.shares, usdc=Decimal(row.usdc) / _MICRO)
            and self.feed.admits(row)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityQuery:
    feed: FeedQuery
    types: frozenset[str] | None
    without_money: bool

    @classmethod
    def of(cls, request: web.Request, *, conditions: frozenset[str] | None) -> Self:
        """Raises: BadRequest."""
        feed = FeedQuery.of(request, conditions=conditions)
        if feed.user is None:
            raise BadRequest("user is required")
        types = _listed(request, "type")
        return cls(
            feed=feed,
            types=None if types is None else frozenset(name.upper() for name in types),
            without_money=_flag(request, "exclude_deposits_withdrawals", default=True),
        )

    def admits(self, row: Activity) -> bool:
        is_wanted = self.types is None or row.type in self.types
        return (
            is_wanted
            and not (self.without_money and row.type in _MONEY_TYPES)
            and self.feed.admits(row)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsQuery:
    """``status``, ``sort`` and ``ascending`` may be None: then a cursor's, or the default, holds."""

    user: str | None
    conditions: frozenset[str] | None
    status: str | None
    title: str
    floor: Floor
    sort: str | None
    ascending: bool | None
    start: int
    end: int | None

    @classmethod
    def of(cls, request: web.Request, *, conditions: frozenset[str] | None) -> Self:
        """Raises: BadRequest."""
        user, direction = _user(request), _choice(request, "sort_direction", ("ASC", "DESC"))
        if user is None and (conditions is None or len(conditions) != 1):
            raise BadRequest("user or exactly one condition is required")
        return cls(
            user=user,
            conditions=conditions,
            status=_choice(request, "status", STATUSES),
            title=(parameter(request, "title") or "").strip().lower(),
            floor=_floor(request, _DUST_SHARES),
            sort=_choice(request, "sort_by", SORTS),
            ascending=None if direction is None else direction == "ASC",
            start=_seconds(request, "start"),
            end=_seconds(request, "end") or None,
        )

    def admits(self, view: PositionView, status: str) -> bool:
        moment = view.holding.last_at
        return (
            _has_status(view, status)
            and (status == "CLOSED" or self.floor.admits(shares=view.holding.held, usdc=view.value))
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


def parameter(request: web.Request, name: str) -> str | None:
    """A parameter in either of the spellings that the Data API takes: snake_case and camelCase."""
    first, *rest = name.split("_")
    return request.query.get(
        name, request.query.get(first + "".join(word.capitalize() for word in rest))
    )


def asked_conditions(request: web.Request) -> frozenset[str] | None:
    """At most twenty, comma separated, under any of the three names; by `condition_key`. Raises:
    BadRequest.
    """
    found = _listed(request, "condition") or _listed(request, "condition_id")
    if found is None:
        return None
    for each in found:
        if (
            not each.startswith("0x")
            or len(each) not in _ID_LENGTHS
            or not set(each[2:].lower()) <= set("0123456789abcdef")
        ):
            raise BadRequest(f"invalid condition: {each[:80]}")
    conditions = frozenset(condition_key(each) for each in found)
    if len(conditions) > _MOST_CONDITIONS:
        raise BadRequest(f"at most {_MOST_CONDITIONS} conditions")
    return conditions


def asked_events(request: web.Request) -> frozenset[str] | None:
    """Event ids, comma separated. Raises: BadRequest."""
    found = _listed(request, "event_id")
    if found is not None and not all(each.isdecimal() for each in found):
        raise BadRequest("invalid event_id")
    return None if found is None else frozenset(found)


def _listed(request: web.Request, name: str) -> list[str] | None:
    text = parameter(request, name)
    return None if not text else [part.strip() for part in text.split(",") if part.strip()]


def _user(request: web.Request) -> str | None:
    user = parameter(request, "user")
    if user is not None and not is_address(user):
        raise BadRequest("invalid user address")
    return user


def _choice(request: web.Request, name: str, choices: tuple[str, ...]) -> str | None:
    text = parameter(request, name)
    if text is None:
        return None
    if text.upper() not in choices:
        raise BadRequest(f"{name} must be one of {', '.join(choices)}")
    return text.upper()


def _flag(request: web.Request, name: str, *, default: bool) -> bool:
    text = parameter(request, name)
    if text is None:
        return default
    if text.lower() not in ("true", "false"):
        raise BadRequest(f"{name} must be true or false")
    return text.lower() == "true"


def _seconds(request: web.Request, name: str) -> int:
    text = parameter(request, name) or "0"
    if not text.isascii() or not text.isdecimal():
        raise BadRequest(f"{name} must be epoch seconds")
    return int(text)


def _floor(request: web.Request, default_shares: Decimal) -> Floor:
    text, is_cash = (
        parameter(request, "filter_amount"),
        _choice(request, "filter_type", ("CASH", "TOKENS")) == "CASH",
    )
    if text is None:
        return Floor(amount=default_shares, is_cash=False)
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise BadRequest("filter_amount must be a number") from error
    if not amount.is_finite() or amount < 0:
        raise BadRequest("filter_amount must not be negative")
    return Floor(amount=amount, is_cash=is_cash)
