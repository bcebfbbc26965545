"""What a client of a running venue gets while a fault is on, and what became of its order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from polymarket import AsyncSecureClient
from polymarket.errors import RateLimitError, RequestRejectedError, TransportError

from services.paper_venue.control.scenario import read_scenario
from services.paper_venue.faults.catalogue import Fault
from shared.testing.waiting import eventually
from tests.integration.paper_venue.test_sockets import (
    activity_subscription,
    connect_listener,
    wait_for_pong,
)
from tests.integration.paper_venue.venue import PaperVenue
from tools.pipeline.scenario import play_scenario

pytestmark = pytest.mark.integration

EXAMPLES = sorted(Path("docs/scenarios").glob("*.toml"))


@asynccontextmanager
async def fault_on(venue: PaperVenue, name: Fault, **options: Any) -> AsyncIterator[None]:
    """Turn a fault on for the block; it must have been triggered."""
    url = f"{venue.urls['control']}/faults"
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        await http.put(url, json={name: options})
        try:
            yield
            async with http.get(url) as answer:
                assert (await answer.json())["struck"][name] > 0
        finally:
            await http.delete(url)


async def place_resting_order(client: AsyncSecureClient, venue: PaperVenue) -> Any:
    return await client.place_limit_order(
        asset_id=venue.token(), price="0.02", size="10", side="BUY"
    )


async def count_open_orders(client: AsyncSecureClient) -> int:
    return len((await client.list_open_orders().first_page()).items)


@pytest.mark.parametrize(("name", "arrived"), [(Fault.RESET_BEFORE, 0), (Fault.DROP_REPLY, 1)])
async def test_a_broken_connection_does_not_tell_whether_the_order_arrived(
    venue: PaperVenue, name: Fault, arrived: int
) -> None:
    async with venue.client("eoa") as (client, _):
        async with fault_on(venue, name, times=1):
            with pytest.raises(TransportError):
                await place_resting_order(client, venue)

        assert await count_open_orders(client) == arrived


async def test_an_order_sent_twice_by_a_gateway_gets_a_duplicate_reply_and_rests_once(
    venue: PaperVenue,
) -> None:
    async with venue.client("eoa") as (client, _):
        async with fault_on(venue, Fault.REPEATED_REQUEST):
            with pytest.raises(RequestRejectedError, match="Duplicated"):
                await place_resting_order(client, venue)

        assert await count_open_orders(client) == 1


async def test_a_late_reply_is_correct(venue: PaperVenue) -> None:
    async with venue.client("eoa") as (client, _):
        async with fault_on(venue, Fault.LATE_REPLY, seconds="0.2"):
            placed = await place_resting_order(client, venue)

        assert placed.ok


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        (Fault.ORDER_TIMED_OUT, 500, "order timed out"),
        (Fault.RESTART, 425, "restarting"),
        (Fault.POST_ONLY, 503, "post-only mode"),
        (Fault.CANCEL_ONLY, 503, "cancel-only"),
        (Fault.DISABLED, 503, "disabled"),
        (Fault.GEOBLOCK, 403, "restricted in your region"),
        (Fault.CLOSED_ONLY, 400, "closed only mode"),
    ],
)
async def test_a_refused_order_is_not_accepted_and_gets_the_reason(
    venue: PaperVenue, name: Fault, status: int, text: str
) -> None:
    async with venue.client("eoa") as (client, account):
        async with fault_on(venue, name, only=account["proxy"], seconds="30"):
            with pytest.raises(RequestRejectedError, match=text) as refused:
                await place_resting_order(client, venue)

        assert refused.value.status == status
        assert await count_open_orders(client) == 0


async def test_a_signer_over_the_limit_gets_retry_after(venue: PaperVenue) -> None:
    async with (
        venue.client("eoa") as (client, account),
        fault_on(venue, Fault.RATE_LIMIT_SIGNER, only=account["signer"], seconds="30"),
    ):
        for _ in range(2):
            assert (await place_resting_order(client, venue)).ok
        with pytest.raises(RateLimitError) as refused:
            await place_resting_order(client, venue)

    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 30


async def test_a_skewed_clock_shows_in_the_time_endpoint(venue: PaperVenue) -> None:
    async def time() -> int:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{venue.urls['clob']}/time") as answer,
        ):
            return int(await answer.text())

    before = await time()
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        await http.put(f"{venue.urls['control']}/faults", json={"clock-skew": {"seconds": "300"}})
        skewed = await time()
        await http.delete(f"{venue.urls['control']}/faults")

    assert 300 <= skewed - before < 360


async def test_a_silent_socket_answers_pings_and_sends_nothing_else(venue: PaperVenue) -> None:
    async with connect_listener(venue.urls["rtds"], activity_subscription("trades")) as rtds:
        await wait_for_pong(rtds)
        async with fault_on(venue, Fault.SILENT_SOCKET):
            await venue.control("leader-trade", {"token": venue.token(), "usdc": "20"})
            received = len(rtds.texts)
            await rtds.socket.send_str("PING")
            await eventually(lambda: len(rtds.texts) > received)

        assert rtds.frames == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
async def test_each_example_scenario_plays_to_its_end_and_leaves_no_fault_on(
    venue: PaperVenue, path: Path
) -> None:
    messages: list[str] = []
    scenario = read_scenario(path)

    strike_counts = await play_scenario(venue.urls["control"], scenario, report=messages.append)

    assert len(messages) == len(scenario.step)
    assert set(strike_counts) == {fault.value for step in scenario.step for fault in step.on}
    assert (await venue.control("faults"))["faults"] == {}
    await venue.control("leaders/stop", {})
