"""Is this process alive, may it be given work, and what do its metrics say? Three addresses over
HTTP.
"""

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
    """An answer to a probe. ``reasons`` say what is missing, or what is odd although all is well."""

    ok: bool
    reasons: tuple[str, ...] = ()


Check = Callable[[], ProbeResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthServer:
    """The running server: where it listens, and how to end it."""

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

    ``live``: progress is being made; not whether others can be reached. ``ready``: assigned,
    recovered, able to work. Raises: InvalidSettings when the port or the host cannot be had.
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
        health = check()
        return web.json_response(
            {"ok": health.ok, "reasons": health.reasons}, status=200 if health.ok else 503
        )

    return answer


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(
        body=generate_latest(metrics.REGISTRY),
        headers={"Content-Type": "text/plain; version=1.0.0; charset=utf-8"},
    )


def _advice(settings: HealthSettings, refused: OSError) -> str:
    if refused.errno == errno.EADDRINUSE:
        return f"HEALTH_PORT={settings.port}: another process listens there on {settings.host}; choose another port, or 0 for any free one"
    if refused.errno == errno.EACCES:
        return f"HEALTH_PORT={settings.port}: this user may not listen there; choose a port above 1023, or 0 for any free one"
    return f"HEALTH_HOST={settings.host}: cannot listen there ({refused.strerror}); choose an address of this machine, such as 127.0.0.1"
