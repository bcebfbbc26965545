"""A network that misbehaves between us and the node is transient, and the next call works."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shared.chain.rpc import Rpc
from shared.domain.errors import Transient
from tests.system.faulty_relay import BLACK_HOLE, HOST, Faults, FaultyRelay


@pytest.fixture
async def relay() -> AsyncIterator[FaultyRelay]:
    """In front of a node at block 7."""

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        answers = [
            {"jsonrpc": "2.0", "id": each["id"], "result": "0x7"}
            for each in (asked if isinstance(asked, list) else [asked])
        ]
        return web.json_response(answers if isinstance(asked, list) else answers[0])

    application = web.Application()
    application.router.add_post("/", answer)
    async with TestServer(application) as server:
        assert server.port is not None
        async with FaultyRelay(target_port=server.port) as relay:
            yield relay


@pytest.fixture
async def rpc(relay: FaultyRelay) -> AsyncIterator[Rpc]:
    rpc = Rpc(f"http://{HOST}:{relay.port}/", timeout_s=1)
    assert await rpc.call("eth_blockNumber") == "0x7"
    yield rpc
    await rpc.close()


@pytest.mark.parametrize(
    "faults",
    [BLACK_HOLE, Faults(swallows_answers=True), Faults(cut_after_bytes=20)],
    ids=["black hole", "lost answer", "cut answer"],
)
async def test_a_call_that_gets_no_answer_is_transient(
    rpc: Rpc, relay: FaultyRelay, faults: Faults
) -> None:
    async with relay.with_faults(faults):
        with pytest.raises(Transient):
            await rpc.call("eth_blockNumber")

    assert await rpc.call("eth_blockNumber") == "0x7"


async def test_a_node_that_refuses_connections_is_transient(rpc: Rpc, relay: FaultyRelay) -> None:
    relay.refuse()
    relay.reset()
    for _ in range(2):
        with pytest.raises(Transient):
            await rpc.call("eth_blockNumber")

    await relay.listen()

    assert await rpc.call("eth_blockNumber") == "0x7"


async def test_latency_costs_no_call(rpc: Rpc, relay: FaultyRelay) -> None:
    relay.faults = Faults(latency_s=0.02)

    assert await rpc.call("eth_blockNumber") == "0x7"
