"""Whatever a feed brings, the service goes on, what came behind it is heard, and nothing disappears
without a trace.
"""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import note

from services.ingest.adapters import ActivityFeed, DataFeed, parse_fills
from services.pricer.adapters import MarketChannelFeed
from shared.chain.logs import decode_order_fills
from shared.domain.errors import InvalidMessage, Transient
from shared.messages.base import Message
from shared.messages.dead_letters import FrameParked
from shared.messages.leader_fills import LeaderFillSeen
from shared.observe.metrics import REGISTRY
from shared.polymarket import rtds
from shared.polymarket.data_api import parse_page
from shared.polymarket.market_data import KEEP_ALIVE
from shared.polymarket.sockets import Channel, ChannelSettings
from shared.streams.codec import encode
from tests.builders import LEADER, NOON, OTHER_PROXY, TOKEN
from tests.unit.fuzz.effort import TRIED, fuzzed
from tests.unit.fuzz.mutations import mutated, recorded
from tests.unit.ingest.sightings import Fill, by_the_data_api, on_the_chain, on_the_socket
from tests.unit.ingest.test_identity import a_whole_fill
from tests.unit.pricer.test_caches import PricerCaches

pytestmark = pytest.mark.timeout(3600)

A_FILL: Fill = a_whole_fill(size=77)
A_FRAME = on_the_socket(A_FILL, "trades", as_text=False).raw
MOST = 2**63 - 1
"""What a database's column holds."""


class TheEnd(Exception):
    """Of a socket that would go on for ever."""


class Frames(Channel):
    def __init__(self, *frames: str) -> None:
        super().__init__(
            ChannelSettings(
                name="market", url="", ping_interval_s=1, silence_timeout_s=1, pong_is_alive=True
            ),
            list,
        )
        self._frames = frames

    async def frames(self) -> AsyncIterator[str | None]:
        for frame in self._frames:
            yield frame
        raise TheEnd


class Told:
    """What was published, as it would go out."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def publish(self, message: Message) -> None:
        assert encode(message).value
        self.messages.append(message)

    @property
    def fills(self) -> list[LeaderFillSeen]:
        return [message for message in self.messages if isinstance(message, LeaderFillSeen)]

    @property
    def parked(self) -> list[FrameParked]:
        return [message for message in self.messages if isinstance(message, FrameParked)]


def counted(feed: str) -> Decimal:
    """Frames that the feed has counted, of whatever kind."""
    samples = (
        sample
        for metric in REGISTRY.collect()
        if metric.name == "slipstream_feed_frames"
        for sample in metric.samples
    )
    return sum(
        (
            Decimal(each.value)
            for each in samples
            if each.name.endswith("_total") and each.labels["feed"] == feed
        ),
        Decimal(0),
    )


def assert_can_be_kept(fill: LeaderFillSeen) -> None:
    assert 0 < fill.shares <= MOST
    assert 0 < fill.price < 1
    assert all(
        "\x00" not in text for text in (fill.title, fill.outcome, fill.token_id, fill.row_id)
    )


@fuzzed
async def test_frames_of_the_activity_socket(rng: Random) -> None:
    payloads = [
        *recorded("rtds_activity_trades.json"),
        recorded("rtds_activity_trades.json"),
        json.loads(A_FRAME),
    ]
    frame, told, before = mutated(rng, payloads), Told(), counted("rtds")
    note(frame)
    leaders = {LEADER, *wallets(frame)}

    with pytest.raises(TheEnd):
        await ActivityFeed(Frames(frame, A_FRAME), leaders=lambda: leaders, now=lambda: NOON)(
            told.publish
        )

    TRIED["activity frames"] += 1
    for fill in told.fills:
        assert_can_be_kept(fill)
    assert any(fill.shares == A_FILL.shares for fill in told.fills)
    assert counted("rtds") - before >= (2 if envelopes(frame) == 0 else 2 + envelopes(frame))


def envelopes(frame: str) -> int:
    """How many things the frame says; one where it cannot be read."""
    try:
        return len(rtds.parse_envelopes(frame))
    except InvalidMessage:
        return 1


def wallets(frame: str) -> list[str]:
    """Everybody whom the frame names as he would be followed."""
    found = []
    try:
        for envelope in rtds.parse_envelopes(frame):
            try:
                found += [rtds.parse_wallet(row) for row in rtds.parse_rows(envelope)]
            except (InvalidMessage, rtds.SubscriptionRefused):
                continue
    except InvalidMessage:
        return []
    return found


@fuzzed
async def test_pages_of_the_data_api(rng: Random) -> None:
    row = json.loads(by_the_data_api([A_FILL]).raw)["data"][0]
    page = {
        "data": [row, row | {"size": 5, "proxy_wallet": OTHER_PROXY}],
        "pagination": {"next_cursor": None},
    }
    text, told, before = mutated(rng, [page]), Told(), counted("data")
    note(text)
    rows: Sequence[Any] | None = None

    async def trades(*_: object) -> Sequence[dict[str, Any]]:
        nonlocal rows
        try:
            payload = json.loads(text, parse_float=Decimal)
        except (ValueError, ArithmeticError, RecursionError):
            raise InvalidMessage("not JSON") from None
        rows = parse_page(payload)[0]
        return rows

    minute = timedelta(minutes=1)
    await DataFeed(
        trades, leaders=lambda: {LEADER}, now=lambda: NOON, poll_every=minute, look_back=minute
    ).ask_all(told.publish)

    TRIED["data api pages"] += 1
    for fill in told.fills:
        assert_can_be_kept(fill)
    assert counted("data") - before >= (1 if rows is None else len(rows))


@fuzzed
async def test_logs_of_the_chain(rng: Random) -> None:
    logs = [
        json.loads(on_the_chain([A_FILL, a_whole_fill(2)], block=100, v1=v1).raw)
        for v1 in (False, True)
    ]
    text = mutated(rng, logs)
    note(text)
    TRIED["chain logs"] += 1
    try:
        given = json.loads(text)
    except ValueError:
        return
    try:
        decoded = decode_order_fills(given)
    except Transient:
        return

    fills = parse_fills(decoded, mined_at={log.block_number: NOON for log in decoded}, seen_at=NOON)

    for fill in fills:
        assert_can_be_kept(fill)
        assert encode(fill).value


@fuzzed
async def test_frames_of_the_market_channel(rng: Random) -> None:
    payloads = [*map(as_of_our_token, market_frames())]
    frames = [mutated(rng, payloads) for _ in range(rng.randint(1, 4))]
    note(repr(frames))
    pricer, told, before = PricerCaches(), Told(), counted("market")
    await pricer.quotes.fetch_book(TOKEN)
    feed = MarketChannelFeed(
        Frames(*frames),
        pricer.quotes,
        pricer.markets,
        pricer.shared,
        now=pricer.clock,
        share_interval=timedelta(milliseconds=500),
    )

    with pytest.raises(ExceptionGroup) as ended:
        await feed(told.publish)

    TRIED["market frames"] += len(frames)
    assert ended.group_contains(TheEnd)
    assert len(ended.value.exceptions) == 1
    book = await pricer.book()
    for levels, best in ((book.bids, max), (book.asks, min)):
        prices = [level.price for level in levels]
        assert all(0 < level.price < 1 and 0 < level.shares <= MOST for level in levels)
        assert len(set(prices)) == len(prices)
        assert not prices or prices[0] == best(prices)
    spoken = [frame for frame in frames if frame not in KEEP_ALIVE]
    assert len(told.parked) <= len(spoken)
    assert counted("market") - before >= len(told.parked)


def market_frames() -> list[Any]:
    names = (
        "book_msg",
        "price_change_msg",
        "tick_size_msg",
        "last_trade_msg",
        "best_bid_ask_msg",
        "market_resolved_msg",
        "new_market_msg",
    )
    channel = recorded("clob_market_channel.json")
    named = [
        recorded(f"ws_{name}.json" if name.startswith("market") else f"ws_market_{name}.json")
        for name in names
    ]
    return [*named, *channel]


def as_of_our_token(frame: Any) -> Any:
    """The recorded frames tell of other tokens, of which nobody would have asked."""
    tokens = set(_tokens(frame))
    text = json.dumps(frame)
    for token in tokens:
        text = text.replace(token, TOKEN)
    return json.loads(text)


def _tokens(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["asset_id"]] if isinstance(value.get("asset_id"), str) else []
        return own + [token for each in value.values() for token in _tokens(each)]
    return [token for each in value for token in _tokens(each)] if isinstance(value, list) else []
