"""The interface of a part of the HTTP API, and how one is mounted under a path prefix."""

from dataclasses import dataclass
from typing import Protocol

from aiohttp import web


class HttpApi(Protocol):
    """A part of the venue's HTTP API."""

    def routes(self) -> list[web.RouteDef]: ...


@dataclass(frozen=True, slots=True)
class PrefixedApi:
    """Mounts an API under a path prefix: Gamma and the CLOB both have a ``/markets``."""

    prefix: str
    api: HttpApi

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route(route.method, self.prefix + route.path, route.handler)
            for route in self.api.routes()
        ]
