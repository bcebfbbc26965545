"""The probes answer with the checks' results, and an unusable port is explained."""

import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from shared.domain.errors import InvalidSettings
from shared.messages.refusals import Refusal
from shared.observe import health, metrics
from shared.observe.health import HealthServer, ProbeResult
from shared.observe.settings import HealthSettings


class State:
    """The results of the service's checks."""

    live = ProbeResult(ok=True)
    ready = ProbeResult(ok=False, reasons=("no partitions assigned",))


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
async def server(state: State) -> AsyncIterator[HealthServer]:
    server = await health.serve(
        HealthSettings(), live=lambda: state.live, ready=lambda: state.ready
    )
    yield server
    await server.close()


async def get(server: HealthServer, path: str) -> tuple[int, Any]:
    async with ClientSession() as session, session.get(server.url + path) as response:
        return response.status, await (
            response.json() if response.content_type == "application/json" else response.text()
        )


def find_value(metric: str, text: str) -> float:
    """Its value among metrics in Prometheus's format: they are those of all tests of the process.
    0: it is not among them.
    """
    values = (line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(metric))
    return float(next(values, 0))


async def test_a_service_that_is_not_ready_says_why(server: HealthServer) -> None:
    assert await get(server, "/ready") == (
        503,
        {"ok": False, "reasons": ["no partitions assigned"]},
    )
    assert await get(server, "/live") == (200, {"ok": True, "reasons": []})


async def test_each_request_runs_the_checks_again(server: HealthServer, state: State) -> None:
    state.ready = ProbeResult(ok=True)
    state.live = ProbeResult(ok=False, reasons=("no progress for 40 s",))

    assert await get(server, "/ready") == (200, {"ok": True, "reasons": []})
    assert await get(server, "/live") == (503, {"ok": False, "reasons": ["no progress for 40 s"]})


async def test_a_check_that_raises_is_answered_with_an_error(state: State) -> None:
    def broken() -> ProbeResult:
        raise RuntimeError("no state yet")

    server = await health.serve(HealthSettings(), live=broken, ready=lambda: state.ready)
    try:
        assert (await get(server, "/live"))[0] == 500
    finally:
        await server.close()


async def test_metrics_are_served(server: HealthServer) -> None:
    refused = 'slipstream_refusals_total{reason="trade_too_old"}'
    before = find_value(refused, (await get(server, "/metrics"))[1])

    metrics.copy_refused(Refusal.TRADE_TOO_OLD)
    status, text = await get(server, "/metrics")

    assert status == 200
    assert find_value(refused, text) == before + 1


async def test_any_free_port_is_used_by_default(server: HealthServer) -> None:
    assert server.port > 0


async def test_a_port_in_use_is_named_with_its_variable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(
            InvalidSettings, match=f"HEALTH_PORT={port}: another process listens there"
        ):
            await health.serve(
                HealthSettings(port=port), live=lambda: State.live, ready=lambda: State.ready
            )


async def test_a_host_of_another_machine_is_named_with_its_variable() -> None:
    with pytest.raises(InvalidSettings, match=r"HEALTH_HOST=192\.0\.2\.1: cannot listen there"):
        await health.serve(
            HealthSettings(host="192.0.2.1"), live=lambda: State.live, ready=lambda: State.ready
        )


async def test_the_port_is_free_again_after_closing(state: State) -> None:
    first = await health.serve(HealthSettings(), live=lambda: state.live, ready=lambda: state.ready)
    await first.close()
    second = await health.serve(
        HealthSettings(port=first.port), live=lambda: state.live, ready=lambda: state.ready
    )
    await second.close()

    assert second.port == first.port
