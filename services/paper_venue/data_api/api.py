"""The Data API's HTTP API: trades, activity, positions, value and approvals.

Its rows come from the index of the chain: a match appears once it is mined, and never if its
settlement failed.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from aiohttp import web
from eth_utils.address import to_checksum_address

from services.paper_venue.data_api.activity_index import Activity, ActivityIndex
from services.paper_venue.data_api.cursors import Page, parse_page, take_page
from services.paper_venue.data_api.holdings_ledger import Holding
from services.paper_venue.data_api.requests import (
    ActivityQuery,
    PositionsQuery,
    TradesQuery,
    parse_conditions,
    parse_event_ids,
    read_parameter,
)
from services.paper_venue.data_api.rows import (
    PositionView,
    activity_row,
    position_row,
    trade_row,
    value_row,
)
from services.paper_venue.exchange.market_groups import markets_by_event
from services.paper_venue.exchange.matching_engine import MatchingEngine
from services.paper_venue.exchange.orders import PRICE_ONE, Market, condition_key
from services.paper_venue.faults.catalogue import Fault, Faults
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.requests import BadRequest
from services.paper_venue.http.responses import reply

_DEFAULT_SORT = {"CLOSED": "TIMESTAMP"}
_MAX_CACHED = 1_000


class Approvals(Protocol):
    """Fetches who may take a wallet's money and shares."""

    async def fetch(self, wallet: str) -> list[Json]:
        """One row for each pair of token and spender that clients ask for. Raises: Transient."""
        ...


class Index(Protocol):
    """Keeps the index up to date."""

    async def wait_until_ready(self) -> None:
        """Wait until the chain has been read once. Raises: Transient."""
        ...


class DataApi:
    """Answers from ``index``. ``cache_s``: how long an answer is cached by its URL, as at the live
    API's edge; 0: no cache.
    """

    def __init__(
        self,
        engine: MatchingEngine,
        index: ActivityIndex,
        *,
        indexer: Index,
        approvals: Approvals,
        faults: Faults,
        now_ms: Callable[[], int],
        cache_s: float = 0,
    ) -> None:
        self._engine, self._index, self._indexer = engine, index, indexer
        self._approvals, self._faults, self._now_ms = approvals, faults, now_ms
        self._cache_ms = int(cache_s * 1000)
        self._cached: dict[str, tuple[int, Json]] = {}

    def routes(self) -> list[web.RouteDef]:
        answer_by_path = {
            "/v2/trades": self._trades,
            "/v2/activity": self._activity,
            "/v2/positions": self._positions,
            "/v2/value": self._value,
        }
        routes = [
            web.get(path, self._build_handler(answer)) for path, answer in answer_by_path.items()
        ]
        return [*routes, web.get("/v2/approvals", self.approvals)]

    async def approvals(self, request: web.Request) -> web.Response:
        wallet = _parse_wallet(request)
        rows = await self._approvals.fetch(wallet)
        return reply({"data": {"address": wallet, "chain_id": 137, "contracts": rows}})

    def _build_handler(self, answer: Callable[[web.Request], Json]) -> Callable[[web.Request], Any]:
        async def serve(request: web.Request) -> web.Response:
            await self._indexer.wait_until_ready()
            return reply(self._from_cache(request, answer))

        return serve

    def _from_cache(self, request: web.Request, answer: Callable[[web.Request], Json]) -> Json:
        """The cached answer of this URL, or a new one. URLs that differ in anything are cached
        separately: that is how clients bypass the cache.
        """
        now_ms = self._now_ms()
        valid_until_ms, payload = self._cached.get(request.path_qs, (0, {}))
        if now_ms < valid_until_ms:
            return payload
        payload = answer(request)
        if self._cache_ms:
            if len(self._cached) >= _MAX_CACHED:
                self._cached.clear()
            self._cached[request.path_qs] = (now_ms + self._cache_ms, payload)
        return payload

    def _trades(self, request: web.Request) -> Json:
        query, page = (
            TradesQuery.parse(request, conditions=self._parse_conditions(request)),
            parse_page(request, "trades"),
        )
        rows = self._rows_after(self._index.rows(query.feed.user), page, ascending=False)
        page_rows, pagination = take_page(
            filter(query.matches, self._visible_rows(rows)), page, endpoint="trades", key=_row_key
        )
        return {
            "data": self._build_rows(page_rows, lambda row: trade_row(row, self._market(row))),
            "pagination": pagination,
        }

    def _activity(self, request: web.Request) -> Json:
        query, page = (
            ActivityQuery.parse(request, conditions=self._parse_conditions(request)),
            parse_page(request, "activity"),
        )
        rows = self._rows_after(
            self._index.rows(query.feed.user), page, ascending=query.feed.ascending
        )
        page_rows, pagination = take_page(
            filter(query.matches, self._visible_rows(rows)), page, endpoint="activity", key=_row_key
        )
        markets = {condition_key(market.condition_id): market for market in self._engine.markets}
        return {
            "data": self._build_rows(
                page_rows, lambda row: activity_row(row, markets.get(row.condition or ""))
            ),
            "pagination": pagination,
        }

    def _positions(self, request: web.Request) -> Json:
        query, page = (
            PositionsQuery.parse(request, conditions=self._parse_conditions(request)),
            parse_page(request, "positions"),
        )
        pins = {
            "status": _pinned(page, "status", query.status, "OPEN"),
            # the default of a field
            "ascending": _pinned(page, "ascending", query.ascending, False),  # noqa: FBT003
        }
        pins["sort"] = _pinned(
            page, "sort", query.sort, _DEFAULT_SORT.get(pins["status"], "CURRENT_VALUE")
        )
        views = [view for view in self._build_views(query) if query.matches(view, pins["status"])]
        keyed = sorted(
            ((_position_key(view, pins["sort"]), view) for view in views),
            key=_first,
            reverse=not pins["ascending"],
        )
        if page.after is not None:
            last = (Decimal(page.after[0]), int(page.after[1]))
            keyed = [
                (key, view)
                for key, view in keyed
                if (key > last if pins["ascending"] else key < last)
            ]
        page_rows, pagination = take_page(
            keyed,
            page,
            endpoint="positions",
            key=lambda each: [str(each[0][0]), each[0][1]],
            pins=pins,
        )
        return {"data": [position_row(view) for _, view in page_rows], "pagination": pagination}

    def _value(self, request: web.Request) -> Json:
        wallet, conditions = _parse_wallet(request), self._parse_conditions(request)
        events = self._event_ids()
        views = [self._build_view(holding, events) for holding in self._index.holdings(wallet)]
        matching = [
            view
            for view in views
            if conditions is None or condition_key(view.market.condition_id) in conditions
        ]
        return {"data": value_row(wallet, sum((view.value for view in matching), start=Decimal(0)))}

    def _parse_conditions(self, request: web.Request) -> frozenset[str] | None:
        """The requested conditions, named directly or by their events. Raises: BadRequest."""
        events = parse_event_ids(request)
        if events is None:
            return parse_conditions(request)
        by_event = markets_by_event(self._engine.markets)
        markets = [market for event in events for market in by_event.get(event, ())]
        return frozenset(condition_key(market.condition_id) for market in markets)

    def _rows_after(
        self, rows: Sequence[Activity], page: Page, *, ascending: bool
    ) -> Iterable[Activity]:
        """The rows after the cursor, in the requested order."""
        if page.after is None:
            return rows if ascending else reversed(rows)
        after = (int(page.after[0]), int(page.after[1]))
        if ascending:
            return rows[bisect_right(rows, after, key=lambda row: row.key) :]
        return reversed(rows[: bisect_left(rows, after, key=lambda row: row.key)])

    def _visible_rows(self, rows: Iterable[Activity]) -> Iterable[Activity]:
        """The rows that this replica knows: the fault makes one lag behind."""
        strike = self._faults.trigger(Fault.STALE_READS)
        if strike is None:
            return rows
        horizon = self._now_ms() - int(strike.seconds * 1000)
        return (row for row in rows if row.indexed_at_ms <= horizon)

    def _build_rows(
        self, rows: Sequence[Activity], write: Callable[[Activity], Json]
    ) -> list[Json]:
        """The rows as JSON; the fault doubles some of them."""
        built: list[Json] = []
        for row in rows:
            times = 2 if self._faults.trigger_for_row(Fault.ROWS_DOUBLED, [row.wallet]) else 1
            built += [write(row)] * times
        return built

    def _market(self, row: Activity) -> Market:
        if row.token_id is None:
            raise RuntimeError(f"a trade without a token: {row}")
        return self._engine.market_by_token[row.token_id]

    def _build_views(self, query: PositionsQuery) -> list[PositionView]:
        events = self._event_ids()
        holdings = (
            self._index.holdings(query.user)
            if query.user is not None
            else self._holders(query.conditions or frozenset())
        )
        views = [self._build_view(holding, events) for holding in holdings]
        return [
            view
            for view in views
            if query.conditions is None
            or condition_key(view.market.condition_id) in query.conditions
        ]

    def _holders(self, conditions: frozenset[str]) -> list[Holding]:
        markets = [
            market
            for market in self._engine.markets
            if condition_key(market.condition_id) in conditions
        ]
        return self._index.holders(token for market in markets for token in market.token_ids)

    def _build_view(self, holding: Holding, events: Mapping[str, str]) -> PositionView:
        market = self._engine.market_by_token[holding.token_id]
        outcome = market.outcome_index(holding.token_id)
        payouts = self._index.payouts(market.condition_id)
        opposite = market.token_ids[1 - outcome]
        held_opposite = next(
            (
                each.held
                for each in self._index.holdings(holding.wallet)
                if each.token_id == opposite
            ),
            0,
        )
        return PositionView(
            holding=holding,
            market=market,
            event_id=events[market.condition_id],
            price=self._mid(market, outcome)
            if payouts is None
            else Decimal(payouts[outcome]) / sum(payouts),
            is_resolved=payouts is not None,
            held_opposite=held_opposite,
        )

    def _event_ids(self) -> dict[str, str]:
        """By condition id."""
        return {
            market.condition_id: event
            for event, group in markets_by_event(self._engine.markets).items()
            for market in group
        }

    def _mid(self, market: Market, outcome: int) -> Decimal:
        """Halfway between best bid and best ask, in USDC; an empty side counts as 0 or 1."""
        book = self._engine.books[market.condition_id]
        bid, ask = book.best_bid(outcome) or 0, book.best_ask(outcome) or PRICE_ONE
        return Decimal(bid + ask) / (2 * PRICE_ONE)


def _parse_wallet(request: web.Request) -> str:
    try:
        return to_checksum_address(read_parameter(request, "user") or "")
    except ValueError as error:
        raise BadRequest("invalid user address") from error


def _row_key(row: Activity) -> Sequence[int]:
    return row.key


def _first(keyed: tuple[tuple[Decimal, int], PositionView]) -> tuple[Decimal, int]:
    return keyed[0]


def _pinned(page: Page, name: str, requested: Any, default: Any) -> Any:
    """A parameter as the first page's request chose it.

    Raises: BadRequest (a later page's request names another value).
    """
    pinned = page.pins.get(name)
    if pinned is not None and requested is not None and requested != pinned:
        raise BadRequest(f"{name} contradicts the cursor")
    return next(choice for choice in (pinned, requested, default) if choice is not None)


def _position_key(view: PositionView, sort: str) -> tuple[Decimal, int]:
    values = {
        "CURRENT_VALUE": view.value,
        "PRICE": view.price,
        "TOKENS": Decimal(view.holding.held),
        "UNREALIZED_PNL": view.unrealized_pnl,
        "REALIZED_PNL": view.realized_pnl,
        "TOTAL_PNL": view.total_pnl,
        "TIMESTAMP": Decimal(view.holding.last_at),
    }
    return values[sort], view.holding.number
