"""Serve a process's liveness, readiness and metrics over HTTP."""

import errno
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import generate_latest

from shared.domain.errors import InvalidSettings
from shared.observe import metrics
from shared.observe.settings import HealthSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """An answer to a probe. ``reasons``: what is missing, or a warning although all is well."""

    ok: bool
    reasons: tuple[str, ...] = ()


Check = Callable[[], ProbeResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthServer:
    """The running server: its address, and how to close it."""

    host: str
    port: int
    runner: web.AppRunner

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def close(self) -> None:
        await self.runner.cleanup()


async def serve(settings: HealthSettings, *, live: Check, ready: Check) -> HealthServer:
    """Serve ``/metrics``, ``/live`` and ``/ready`` until closed.

    ``live``: whether the process makes progress, not whether others can be reached. ``ready``:
    whether it is assigned, recovered and able to work.

    Raises: InvalidSettings where the host or the port cannot be used.
    """
    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", _metrics),
            web.get("/live", _probe(live)),
            web.get("/ready", _probe(ready)),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as refused:
        await runner.cleanup()
        raise InvalidSettings(_advice(settings, refused)) from refused
    return HealthServer(host=settings.host, port=runner.addresses[0][1], runner=runner)


def _probe(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        result = check()
        return web.json_response(
            {"ok": result.ok, "reasons": result.reasons}, status=200 if result.ok else 503
        )

    return answer


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(
        body=generate_latest(metrics.REGISTRY),
        headers={"Content-Type": "text/plain; version=1.0.0; charset=utf-8"},
    )


def _advice(settings: HealthSettings, refused: OSError) -> str:
    if refused.errno == errno.EADDRINUSE:
        return (
            f"HEALTH_PORT={settings.port}: another process listens there on {settings.host}; "
            "choose another port, or 0 for any free one"
        )
    if refused.errno == errno.EACCES:
        return (
            f"HEALTH_PORT={settings.port}: this user may not listen there; "
            "choose a port above 1023, or 0 for any free one"
        )
    return (
        f"HEALTH_HOST={settings.host}: cannot listen there ({refused.strerror}); "
        "choose an address of this machine, such as 127.0.0.1"
    )
