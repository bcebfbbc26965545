"""Whatever a feed delivers, the service goes on: the next frame is handled, and every frame is
counted or parked.
"""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import note

from services.ingest.adapters import ActivityFeed, parse_fills
from services.pricer.adapters.channel import MarketChannelFeed
from shared.chain.logs import decode_order_fills
from shared.domain.errors import InvalidMessage, Transient
from shared.messages.base import Message
from shared.messages.dead_letters import FrameParked
from shared.messages.leader_fills import LeaderFillSeen
from shared.observe.metrics import REGISTRY, Feed
from shared.polymarket import rtds
from shared.polymarket.data_api import Trades, parse_page
from shared.polymarket.market_data import KEEP_ALIVE
from shared.polymarket.sockets import Channel, ChannelSettings
from shared.streams.codec import encode
from tests.builders import LEADER, NOON, OTHER_PROXY, TOKEN
from tests.feeds import a_data_feed
from tests.unit.fuzz.fuzzing import TRIED_INPUTS, fuzzed
from tests.unit.fuzz.mutations import load_recorded, mutate
from tests.unit.ingest.source_reports import Fill, chain_report, data_api_report, socket_report
from tests.unit.ingest.test_identity import a_settled_fill
from tests.unit.pricer.harness import PricerCaches

pytestmark = pytest.mark.timeout(3600)

A_FILL: Fill = a_settled_fill(size=77)
A_FRAME = socket_report(A_FILL, "trades", as_text=False).raw
MAX_BIGINT = 2**63 - 1
"""The largest value of the database's columns."""


class SocketEnded(Exception):
    """Ends a feed, which would otherwise run for ever."""


class FakeChannel(Channel):
    """A socket that delivers these frames, and then raises SocketEnded."""

    def __init__(self, *frames: str) -> None:
        super().__init__(
            ChannelSettings(
                name=Feed.MARKET, url="", ping_interval_s=1, silence_timeout_s=1, pong_is_alive=True
            ),
            list,
        )
        self._frames = frames

    async def frames(self) -> AsyncIterator[str | None]:
        for frame in self._frames:
            yield frame
        raise SocketEnded


class Published:
    """Collects what a feed publishes, and encodes it as the producer would."""

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


def counted_frames(feed: str) -> Decimal:
    """How many frames the feed has counted, of all kinds."""
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


def assert_can_be_stored(fill: LeaderFillSeen) -> None:
    assert 0 < fill.shares <= MAX_BIGINT
    assert 0 < fill.price < 1
    assert all(
        "\x00" not in text for text in (fill.title, fill.outcome, fill.token_id, fill.row_id)
    )


@fuzzed
async def test_mutated_frames_of_the_activity_socket_do_not_stop_the_next_frame(
    rng: Random,
) -> None:
    payloads = [
        *load_recorded("rtds_activity_trades.json"),
        load_recorded("rtds_activity_trades.json"),
        json.loads(A_FRAME),
    ]
    frame, published, before = mutate(rng, payloads), Published(), counted_frames("rtds")
    note(frame)
    leaders = {LEADER, *parse_wallets(frame)}

    with pytest.raises(SocketEnded):
        await ActivityFeed(FakeChannel(frame, A_FRAME), leaders=lambda: leaders, now=lambda: NOON)(
            published.publish
        )

    TRIED_INPUTS["activity frames"] += 1
    for fill in published.fills:
        assert_can_be_stored(fill)
    assert any(fill.shares == A_FILL.shares for fill in published.fills)
    assert counted_frames("rtds") - before >= (
        2 if count_envelopes(frame) == 0 else 2 + count_envelopes(frame)
    )


def count_envelopes(frame: str) -> int:
    """How many envelopes the frame has; 1 where it cannot be parsed."""
    try:
        return len(rtds.parse_envelopes(frame))
    except InvalidMessage:
        return 1


def parse_wallets(frame: str) -> list[str]:
    """All wallets of the frame, in the form in which they would be followed."""
    wallets = []
    try:
        for envelope in rtds.parse_envelopes(frame):
            try:
                wallets += [rtds.parse_wallet(row) for row in rtds.parse_rows(envelope)]
            except (InvalidMessage, rtds.SubscriptionRefused, rtds.UnknownEnvelope):
                continue
    except InvalidMessage:
        return []
    return wallets


@fuzzed
async def test_mutated_pages_of_the_data_api_yield_only_fills_that_can_be_stored(
    rng: Random,
) -> None:
    row = json.loads(data_api_report([A_FILL]).raw)["data"][0]
    page = {
        "data": [row, row | {"size": 5, "proxy_wallet": OTHER_PROXY}],
        "pagination": {"next_cursor": None},
    }
    text, published, before = mutate(rng, [page]), Published(), counted_frames("data")
    note(text)
    rows: Sequence[Any] | None = None

    async def fetch_trades(*_: object) -> Trades:
        nonlocal rows
        try:
            payload = json.loads(text, parse_float=Decimal)
        except (ValueError, ArithmeticError, RecursionError):
            raise InvalidMessage("not JSON") from None
        rows = found = parse_page(payload)[0]
        return Trades(rows=found, is_complete=True)

    await a_data_feed(fetch_trades, {LEADER}).read_all(published.publish)

    TRIED_INPUTS["data api pages"] += 1
    for fill in published.fills:
        assert_can_be_stored(fill)
    assert counted_frames("data") - before >= (1 if rows is None else len(rows))


@fuzzed
async def test_mutated_logs_of_the_chain_yield_only_fills_that_can_be_stored(rng: Random) -> None:
    logs = [
        json.loads(chain_report([A_FILL, a_settled_fill(2)], block=100, v1=v1).raw)
        for v1 in (False, True)
    ]
    text = mutate(rng, logs)
    note(text)
    TRIED_INPUTS["chain logs"] += 1
    try:
        payload = json.loads(text)
    except ValueError:
        return
    try:
        decoded = decode_order_fills(payload)
    except Transient:
        return

    fills = parse_fills(decoded, mined_at={log.block_number: NOON for log in decoded}, seen_at=NOON)

    for fill in fills:
        assert_can_be_stored(fill)
        assert encode(fill).value


@fuzzed
async def test_mutated_frames_of_the_market_channel_leave_a_sorted_book(rng: Random) -> None:
    payloads = [*map(with_our_token, load_market_frames())]
    frames = [mutate(rng, payloads) for _ in range(rng.randint(1, 4))]
    note(repr(frames))
    pricer, published, before = PricerCaches(), Published(), counted_frames("market")
    await pricer.quotes.fetch_book(TOKEN)
    feed = MarketChannelFeed(
        FakeChannel(*frames),
        pricer.quotes,
        pricer.markets,
        pricer.shared,
        now=pricer.clock,
        share_interval=timedelta(milliseconds=500),
    )

    with pytest.raises(ExceptionGroup) as ended:
        await feed(published.publish)

    TRIED_INPUTS["market frames"] += len(frames)
    assert ended.group_contains(SocketEnded)
    assert len(ended.value.exceptions) == 1
    book = await pricer.book()
    for levels, best in ((book.bids, max), (book.asks, min)):
        prices = [level.price for level in levels]
        assert all(0 < level.price < 1 and 0 < level.shares <= MAX_BIGINT for level in levels)
        assert len(set(prices)) == len(prices)
        assert not prices or prices[0] == best(prices)
    data_frames = [frame for frame in frames if frame not in KEEP_ALIVE]
    assert len(published.parked) <= len(data_frames)
    assert counted_frames("market") - before >= len(published.parked)


def load_market_frames() -> list[Any]:
    names = (
        "book_msg",
        "price_change_msg",
        "tick_size_msg",
        "last_trade_msg",
        "best_bid_ask_msg",
        "market_resolved_msg",
        "new_market_msg",
    )
    channel = load_recorded("clob_market_channel.json")
    named = [
        load_recorded(f"ws_{name}.json" if name.startswith("market") else f"ws_market_{name}.json")
        for name in names
    ]
    return [*named, *channel]


def with_our_token(frame: Any) -> Any:
    """The frame with TOKEN instead of its tokens: the feed ignores tokens that nobody requested."""
    tokens = set(_list_tokens(frame))
    text = json.dumps(frame)
    for token in tokens:
        text = text.replace(token, TOKEN)
    return json.loads(text)


def _list_tokens(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["asset_id"]] if isinstance(value.get("asset_id"), str) else []
        return own + [token for each in value.values() for token in _list_tokens(each)]
    return (
        [token for each in value for token in _list_tokens(each)] if isinstance(value, list) else []
    )
