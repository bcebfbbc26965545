"""What the control endpoint does to a running venue, and how it refuses invalid requests."""

from typing import Any

import aiohttp
import pytest

from shared.testing.waiting import eventually
from tests.integration.paper_venue.test_sockets import connect_listener
from tests.integration.paper_venue.venue import PaperVenue

pytestmark = pytest.mark.integration


async def request(venue: PaperVenue, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, f"{venue.urls['control']}/{path}", json=body) as answer,
    ):
        return answer.status, await answer.json()


async def test_faults_are_off_until_put_and_off_again_when_deleted(venue: PaperVenue) -> None:
    assert await request(venue, "GET", "faults") == (200, {"faults": {}, "struck": {}})

    status, on = await request(venue, "PUT", "faults", {"drop-reply": {"share": "0.2", "times": 5}})

    assert (status, on["struck"]) == (200, {"drop-reply": 0})
    assert (on["faults"]["drop-reply"]["share"], on["faults"]["drop-reply"]["times"]) == ("0.2", 5)
    assert await request(venue, "DELETE", "faults") == (200, {"faults": {}, "struck": {}})


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        (
            "PUT",
            "faults",
            {"drop-replies": {}},
            "there is no fault 'drop-replies'; there are reset-before, drop-reply",
        ),
        (
            "PUT",
            "faults",
            {"drop-reply": {"share": "2"}},
            "drop-reply: share: Input should be less than or equal to 1",
        ),
        ("PUT", "faults", {"drop-reply": {"often": 1}}, "a strike may have share, seconds, times"),
        ("PUT", "faults", ["drop-reply"], "a JSON object of faults by name"),
        ("POST", "tick", {"tick": "0.02"}, "tick must be one of 0.1, 0.01"),
        (
            "POST",
            "tick",
            {"tick": "0.01", "condition_id": "0x1"},
            "condition_id must be that of an open market",
        ),
        ("POST", "resolve", {"outcome": "maybe"}, "outcome must be one of yes, no, split"),
        ("POST", "accounts", {"kind": "bank"}, "kind must be one of eoa, proxy, safe, deposit"),
        ("POST", "accounts", {"kind": "eoa", "api_keys": 1}, "api_keys must be true or false"),
    ],
)
async def test_an_invalid_request_is_refused_with_what_is_allowed(
    venue: PaperVenue, method: str, path: str, body: Any, message: str
) -> None:
    status, answer = await request(venue, method, path, body)

    assert status == 400
    assert message in answer["error"]
    assert (await request(venue, "GET", "faults"))[1]["faults"] == {}


@pytest.mark.parametrize("kind", ["eoa", "proxy", "safe", "deposit"])
async def test_an_account_of_each_kind_is_funded_and_has_its_api_key(
    venue: PaperVenue, kind: str
) -> None:
    (account,) = await venue.control("accounts", {"kind": kind, "usdc": "12.5", "api_keys": True})

    assert account["kind"] == kind
    assert (account["proxy"] == account["signer"]) == (kind == "eoa")
    assert set(account["api_key"]) == {"apiKey", "secret", "passphrase"}


async def test_a_market_gets_a_finer_tick_and_is_resolved(venue: PaperVenue) -> None:
    market = await venue.find_market_to_resolve(neg_risk=True)
    subscription = {
        "type": "market",
        "assets_ids": market["token_ids"],
        "custom_feature_enabled": True,
    }
    async with (
        connect_listener(venue.urls["market_ws"], subscription) as feed,
        connect_listener(
            venue.urls["market_ws"], {"type": "market", "assets_ids": market["token_ids"]}
        ) as plain,
    ):
        await eventually(lambda: feed.of_type("book") and plain.of_type("book"))
        await venue.control("tick", {"condition_id": market["condition_id"], "tick": "0.0001"})
        await eventually(lambda: feed.of_type("tick_size_change"))
        coarser = await request(
            venue, "POST", "tick", {"condition_id": market["condition_id"], "tick": "0.1"}
        )
        resolved = await venue.control(
            "resolve", {"condition_id": market["condition_id"], "outcome": "no"}
        )
        (published,) = await eventually(lambda: feed.of_type("market_resolved"))
        await eventually(lambda: plain.of_type("tick_size_change"))
        await plain.socket.send_str("PING")
        await eventually(lambda: "PONG" in plain.texts)

    assert (coarser[0], "only becomes finer" in coarser[1]["error"]) == (409, True)
    assert resolved["resolved"] == {market["condition_id"]: {"yes": 0, "no": 1}}
    assert published["winning_asset_id"] == market["token_ids"][1]
    assert plain.of_type("market_resolved") == []
    status, answer = await request(
        venue, "POST", "resolve", {"condition_id": market["condition_id"], "outcome": "no"}
    )
    assert (status, "open market" in answer["error"]) == (400, True)
