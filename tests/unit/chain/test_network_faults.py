"""A network that misbehaves between us and the node is transient, and the next call works."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shared.chain.rpc import Rpc
from shared.domain.errors import Transient
from tests.system.fault_proxy import BLACK_HOLE, HOST, FaultProxy, Faults


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
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
        async with FaultProxy(target_port=server.port) as proxy:
            yield proxy


@pytest.fixture
async def rpc(proxy: FaultProxy) -> AsyncIterator[Rpc]:
    rpc = Rpc(f"http://{HOST}:{proxy.port}/", timeout_s=1)
    assert await rpc.call("eth_blockNumber") == "0x7"
    yield rpc
    await rpc.close()


@pytest.mark.parametrize(
    "faults",
    [BLACK_HOLE, Faults(swallows_answers=True), Faults(cut_after_bytes=20)],
    ids=["black hole", "lost answer", "cut answer"],
)
async def test_a_call_that_gets_no_answer_is_transient(
    rpc: Rpc, proxy: FaultProxy, faults: Faults
) -> None:
    async with proxy.with_faults(faults):
        with pytest.raises(Transient):
            await rpc.call("eth_blockNumber")

    assert await rpc.call("eth_blockNumber") == "0x7"


async def test_a_node_that_refuses_connections_is_transient(rpc: Rpc, proxy: FaultProxy) -> None:
    proxy.refuse()
    proxy.reset()
    for _ in range(2):
        with pytest.raises(Transient):
            await rpc.call("eth_blockNumber")

    await proxy.listen()

    assert await rpc.call("eth_blockNumber") == "0x7"


async def test_latency_costs_no_call(rpc: Rpc, proxy: FaultProxy) -> None:
    proxy.faults = Faults(latency_s=0.02)

    assert await rpc.call("eth_blockNumber") == "0x7"
