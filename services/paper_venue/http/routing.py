"""A part of the venue's HTTP API, and how it is mounted under a prefix."""

from dataclasses import dataclass
from typing import Protocol

from aiohttp import web


class HttpApi(Protocol):
    """A part of the HTTP API."""

    def routes(self) -> list[web.RouteDef]: ...


@dataclass(frozen=True, slots=True)
class PrefixedApi:
    """A part of the HTTP API whose paths begin with a prefix: Gamma and the CLOB both have a ``/markets``."""

    prefix: str
    api: HttpApi

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route(route.method, self.prefix + route.path, route.handler)
            for route in self.api.routes()
        ]
