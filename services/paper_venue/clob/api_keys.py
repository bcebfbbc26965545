"""``/auth/*``: creates, derives, lists and revokes API keys."""

from aiohttp import web

from services.paper_venue.clob.authenticator import Authenticator
from services.paper_venue.faults.catalogue import Fault, Faults
from services.paper_venue.http.auth import ApiKeyStore, Credentials
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.requests import BadRequest, parse_json
from services.paper_venue.http.responses import reply


class ApiKeys:
    """Creating a key needs the wallet's signature; everything else is authenticated by the key."""

    def __init__(self, keys: ApiKeyStore, authenticator: Authenticator, faults: Faults) -> None:
        self._keys = keys
        self._authenticator = authenticator
        self._faults = faults

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/auth/api-key", self.create),
            web.get("/auth/derive-api-key", self.derive),
            web.get("/auth/api-keys", self.list_keys),
            web.delete("/auth/api-key", self.delete),
            web.get("/auth/ban-status/closed-only", self.closed_only),
            web.post("/auth/readonly-api-key", self.create_readonly),
            web.get("/auth/readonly-api-keys", self.list_readonly),
            web.delete("/auth/readonly-api-key", self.delete_readonly),
            web.get("/auth/validate-readonly-api-key", self.validate_readonly),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """Once for each address and nonce; later, clients derive the key."""
        credentials = self._keys.create(*self._authenticator.authenticate_wallet(request))
        if credentials is None:
            raise BadRequest("Could not create api key")
        return reply(_secrets(credentials))

    async def derive(self, request: web.Request) -> web.Response:
        return reply(_secrets(self._keys.derive(*self._authenticator.authenticate_wallet(request))))

    async def list_keys(self, request: web.Request) -> web.Response:
        credentials = await self._authenticator.authenticate_key(request)
        return reply({"apiKeys": self._keys.list_keys(credentials.address)})

    async def delete(self, request: web.Request) -> web.Response:
        self._keys.revoke(await self._authenticator.authenticate_key(request))
        return reply("OK")

    async def closed_only(self, request: web.Request) -> web.Response:
        """Whether the fault closed-only is on for this address."""
        credentials = await self._authenticator.authenticate_key(request)
        options = self._faults.active.get(Fault.CLOSED_ONLY)
        is_closed = options is not None and (
            options.only is None or options.only.lower() == credentials.address.lower()
        )
        return reply({"closed_only": is_closed})

    async def create_readonly(self, request: web.Request) -> web.Response:
        credentials = await self._authenticator.authenticate_key(request)
        return reply({"apiKey": self._keys.create_readonly(credentials.address)})

    async def list_readonly(self, request: web.Request) -> web.Response:
        credentials = await self._authenticator.authenticate_key(request)
        return reply(self._keys.list_readonly(credentials.address))

    async def delete_readonly(self, request: web.Request) -> web.Response:
        credentials = await self._authenticator.authenticate_key(request)
        payload = parse_json(await request.read())
        if not isinstance(payload, dict) or not self._keys.revoke_readonly(
            credentials.address, str(payload.get("key"))
        ):
            raise BadRequest("Invalid api key", 404)
        return reply("OK")

    async def validate_readonly(self, request: web.Request) -> web.Response:
        if request.query.get("key") not in self._keys.list_readonly(
            request.query.get("address", "")
        ):
            raise BadRequest("Invalid api key", 404)
        return reply("OK")


def _secrets(credentials: Credentials) -> Json:
    return {
        "apiKey": credentials.key,
        "secret": credentials.secret,
        "passphrase": credentials.passphrase,
    }
