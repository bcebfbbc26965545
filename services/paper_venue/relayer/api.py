"""The relayer: it takes calls that wallets' owners have signed, sends them at its own cost, and
tells what became of them.
"""

import asyncio
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from aiohttp import web

from services.paper_venue.http.payloads import Json
from services.paper_venue.http.requests import BadRequest, checksummed, parse_json
from services.paper_venue.http.responses import reply
from services.paper_venue.lifecycle.settlement import Receipt
from services.paper_venue.relayer.keys import RelayerKeys
from services.paper_venue.relayer.relays import CallFails
from services.paper_venue.relayer.requests import (
    INVALID_WALLET,
    Relay,
    RelayType,
    parse_relay,
    wallets_of,
)
from shared.domain.errors import Transient

WALLET_BUSY = "wallet busy: it has an active action"
WRONG_NONCE = "batch nonce {given} does not match on-chain nonce {expected}"
_POLL_S = 0.02
_RETRY_S = 0.2
_JOBS = uuid.uuid5(uuid.NAMESPACE_URL, "slipstream paper venue: relayer")
_CREATIONS = (RelayType.SAFE_CREATE, RelayType.WALLET_CREATE)


class Chain(Protocol):
    """The relayer's side of the chain (chain/relays.py)."""

    @property
    def address(self) -> str: ...
    async def owner_of(self, wallet: str) -> str | None: ...
    async def nonce_of(self, relay_type: RelayType, *, owner: str, wallet: str) -> int: ...
    async def time(self) -> int: ...
    async def broadcast(self, relay: Relay) -> str: ...
    async def receipt(self, tx_hash: str) -> Receipt | None: ...


class State(StrEnum):
    NEW = "STATE_NEW"
    EXECUTED = "STATE_EXECUTED"
    """Broadcast."""
    MINED = "STATE_MINED"
    CONFIRMED = "STATE_CONFIRMED"
    INVALID = "STATE_INVALID"
    """Not sent: too late."""
    FAILED = "STATE_FAILED"
    """Not sent, because it would revert; or sent, and reverted."""


@dataclass(slots=True, kw_only=True)
class Job:
    """A relay on its way."""

    id: str
    relay: Relay
    state: State = State.NEW
    transaction_hash: str = ""
    error: str = ""


class Relayer:
    """``/deployed``, ``/submit`` and what a client asks before and after. One relay per wallet at a
    time.
    """

    def __init__(self, chain: Chain, keys: RelayerKeys, *, confirm_delay_s: float) -> None:
        self._chain = chain
        self._keys = keys
        self._confirm_delay_s = confirm_delay_s
        self._jobs: dict[str, Job] = {}
        self._busy: set[str] = set()
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/deployed", self.deployed),
            web.get("/v1/account/transactions/params", self.params),
            web.get("/relay-payload", self.relay_payload),
            web.post("/submit", self.submit),
            web.get("/v1/account/transactions/{id}", self.transaction),
            web.get("/control/relayer-key", self.key),
        ]

    async def deployed(self, request: web.Request) -> web.Response:
        return reply({"deployed": await self._chain.owner_of(_address(request)) is not None})

    async def params(self, request: web.Request) -> web.Response:
        """What the owner signs with: the nonce of its wallet."""
        owner, relay_type = _address(request), _relay_type(request)
        wallet = await self._standing_wallet(owner, relay_type)
        return reply(
            {
                "address": owner,
                "nonce": str(await self._chain.nonce_of(relay_type, owner=owner, wallet=wallet)),
            }
        )

    async def relay_payload(self, request: web.Request) -> web.Response:
        """Likewise, with the address that will send: part of what a proxy wallet's owner signs."""
        owner = _address(request)
        nonce = await self._chain.nonce_of(RelayType.PROXY, owner=owner, wallet="")
        return reply({"address": self._chain.address, "nonce": str(nonce)})

    async def submit(self, request: web.Request) -> web.Response:
        body = await request.read()
        self._keys.check(request.headers, method=request.method, path=request.path, body=body)
        relay = parse_relay(parse_json(body), relay_address=self._chain.address)
        if relay.wallet in self._busy:
            raise BadRequest(WALLET_BUSY)
        self._busy.add(relay.wallet)
        try:
            await self._require_acceptable(relay)
        except BaseException:
            self._busy.remove(relay.wallet)
            raise
        job = Job(
            id=str(uuid.uuid5(_JOBS, f"{relay.type} {relay.wallet} {len(self._jobs)}")), relay=relay
        )
        self._jobs[job.id] = job
        self._waiting.put_nowait(job)
        return reply({"transactionID": job.id, "state": job.state})

    async def transaction(self, request: web.Request) -> web.Response:
        job = self._jobs.get(request.match_info["id"])
        if job is None:
            raise BadRequest("transaction not found", 404)
        answer: Json = {
            "transaction_id": job.id,
            "state": job.state,
            "transaction_hash": job.transaction_hash,
        }
        return reply(answer | ({"error_msg": job.error} if job.error else {}))

    async def key(self, request: web.Request) -> web.Response:
        """For tests and demos: the keys by which this address may use the relayer."""
        address = _address(request)
        builder = self._keys.builder_of(address)
        named = {"key": builder.key, "secret": builder.secret, "passphrase": builder.passphrase}
        return reply(
            {"relayer": {"key": self._keys.key_of(address), "address": address}, "builder": named}
        )

    async def run(self) -> None:
        """Carry out what is submitted, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                tasks.create_task(self._carry_out(await self._waiting.get()))

    async def _require_acceptable(self, relay: Relay) -> None:
        """Raises: BadRequest, with a text that clients know: they ask for the nonce again.
        Transient.
        """
        stands = await self._chain.owner_of(relay.wallet) is not None
        if relay.type in _CREATIONS:
            if stands:
                raise BadRequest("wallet already deployed")
            return
        if not stands and relay.type is not RelayType.PROXY:
            raise BadRequest(INVALID_WALLET)
        expected = await self._chain.nonce_of(relay.type, owner=relay.owner, wallet=relay.wallet)
        if relay.nonce != expected:
            raise BadRequest(WRONG_NONCE.format(given=relay.nonce, expected=expected))

    async def _carry_out(self, job: Job) -> None:
        try:
            await self._bring_to_a_block(job)
        finally:
            self._busy.remove(job.relay.wallet)
        if job.state is State.MINED:
            await asyncio.sleep(self._confirm_delay_s)
            job.state = State.CONFIRMED

    async def _bring_to_a_block(self, job: Job) -> None:
        while True:
            try:
                if job.state is State.NEW:
                    await self._broadcast(job)
                if job.state is not State.EXECUTED:
                    return
                receipt = await self._chain.receipt(job.transaction_hash)
            except Transient:
                await asyncio.sleep(_RETRY_S)
                continue
            if receipt is not None:
                is_done = receipt.status == 1
                job.state, job.error = (
                    (State.MINED, "") if is_done else (State.FAILED, "transaction reverted")
                )
                return
            await asyncio.sleep(_POLL_S)

    async def _broadcast(self, job: Job) -> None:
        deadline = job.relay.deadline
        if deadline is not None and deadline < await self._chain.time():
            job.state, job.error = State.INVALID, "deadline has passed"
            return
        try:
            job.transaction_hash = await self._chain.broadcast(job.relay)
        except CallFails as error:
            job.state, job.error = State.FAILED, str(error)
        else:
            job.state = State.EXECUTED

    async def _standing_wallet(self, owner: str, relay_type: RelayType) -> str:
        """Of several places the one that is taken; else the first."""
        places = wallets_of(owner, relay_type)
        for wallet in places[1:]:
            if (
                await self._chain.owner_of(places[0]) is None
                and await self._chain.owner_of(wallet) is not None
            ):
                return wallet
        return places[0]


def _address(request: web.Request) -> str:
    """Raises: BadRequest."""
    try:
        return checksummed(request.query["address"])
    except (KeyError, ValueError) as error:
        raise BadRequest("address is missing or none") from error


def _relay_type(request: web.Request) -> RelayType:
    """Raises: BadRequest."""
    try:
        return RelayType(request.query["type"])
    except (KeyError, ValueError) as error:
        raise BadRequest("type is one of " + ", ".join(RelayType)) from error
