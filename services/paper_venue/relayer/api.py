"""The relayer's HTTP API: accepts calls that wallets' owners have signed, has them sent, and
reports their state.
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
from services.paper_venue.relayer.requests import (
    INVALID_WALLET,
    RelayRequest,
    RelayType,
    candidate_wallets,
    parse_relay_request,
)
from services.paper_venue.relayer.sender import CallWouldRevert
from shared.domain.errors import Transient

WALLET_BUSY = "wallet busy: it has an active action"
WRONG_NONCE = "batch nonce {given} does not match on-chain nonce {expected}"
_POLL_INTERVAL_S = 0.02
_RETRY_DELAY_S = 0.2
_JOB_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "slipstream paper venue: relayer")
_CREATIONS = (RelayType.SAFE_CREATE, RelayType.WALLET_CREATE)


class Chain(Protocol):
    """What the relayer needs of the chain (see sender.py)."""

    @property
    def address(self) -> str: ...
    async def fetch_owner(self, wallet: str) -> str | None: ...
    async def fetch_nonce(self, relay_type: RelayType, *, owner: str, wallet: str) -> int: ...
    async def fetch_time(self) -> int: ...
    async def broadcast(self, relay: RelayRequest) -> str: ...
    async def fetch_receipt(self, tx_hash: str) -> Receipt | None: ...


class JobState(StrEnum):
    NEW = "STATE_NEW"
    EXECUTED = "STATE_EXECUTED"
    """Broadcast, not mined yet."""
    MINED = "STATE_MINED"
    CONFIRMED = "STATE_CONFIRMED"
    INVALID = "STATE_INVALID"
    """Not sent: its deadline had passed."""
    FAILED = "STATE_FAILED"
    """Not sent, because it would revert; or mined and reverted."""


@dataclass(slots=True, kw_only=True)
class Job:
    """A submitted request and its state."""

    id: str
    relay: RelayRequest
    state: JobState = JobState.NEW
    transaction_hash: str = ""
    error: str = ""


class RelayerApi:
    """``/deployed``, ``/submit`` and what a client asks before and after. One job per wallet at a
    time.
    """

    def __init__(self, chain: Chain, keys: RelayerKeys, *, confirm_delay_s: float) -> None:
        self._chain = chain
        self._keys = keys
        self._confirm_delay_s = confirm_delay_s
        self._jobs: dict[str, Job] = {}
        self._busy_wallets: set[str] = set()
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
        return reply(
            {"deployed": await self._chain.fetch_owner(_parse_address(request)) is not None}
        )

    async def params(self, request: web.Request) -> web.Response:
        """The nonce that the owner has to sign with."""
        owner, relay_type = _parse_address(request), _parse_relay_type(request)
        wallet = await self._find_wallet(owner, relay_type)
        return reply(
            {
                "address": owner,
                "nonce": str(await self._chain.fetch_nonce(relay_type, owner=owner, wallet=wallet)),
            }
        )

    async def relay_payload(self, request: web.Request) -> web.Response:
        """The nonce and the sending address, both of which a proxy wallet's owner signs."""
        owner = _parse_address(request)
        nonce = await self._chain.fetch_nonce(RelayType.PROXY, owner=owner, wallet="")
        return reply({"address": self._chain.address, "nonce": str(nonce)})

    async def submit(self, request: web.Request) -> web.Response:
        body = await request.read()
        self._keys.check(request.headers, method=request.method, path=request.path, body=body)
        relay = parse_relay_request(parse_json(body), relay_address=self._chain.address)
        if relay.wallet in self._busy_wallets:
            raise BadRequest(WALLET_BUSY)
        self._busy_wallets.add(relay.wallet)
        try:
            await self._require_acceptable(relay)
        except BaseException:
            self._busy_wallets.remove(relay.wallet)
            raise
        job = Job(
            id=str(uuid.uuid5(_JOB_NAMESPACE, f"{relay.type} {relay.wallet} {len(self._jobs)}")),
            relay=relay,
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
        """For tests and demos: the keys with which this address may use the relayer."""
        address = _parse_address(request)
        builder = self._keys.builder_key(address)
        credentials = {
            "key": builder.key,
            "secret": builder.secret,
            "passphrase": builder.passphrase,
        }
        return reply(
            {
                "relayer": {"key": self._keys.relayer_key(address), "address": address},
                "builder": credentials,
            }
        )

    async def run(self) -> None:
        """Run the submitted jobs until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                tasks.create_task(self._run_job(await self._waiting.get()))

    async def _require_acceptable(self, relay: RelayRequest) -> None:
        """Check the wallet and the nonce.

        Raises: BadRequest, with a text on which clients fetch the nonce again; Transient.
        """
        is_deployed = await self._chain.fetch_owner(relay.wallet) is not None
        if relay.type in _CREATIONS:
            if is_deployed:
                raise BadRequest("wallet already deployed")
            return
        if not is_deployed and relay.type is not RelayType.PROXY:
            raise BadRequest(INVALID_WALLET)
        expected = await self._chain.fetch_nonce(relay.type, owner=relay.owner, wallet=relay.wallet)
        if relay.nonce != expected:
            raise BadRequest(WRONG_NONCE.format(given=relay.nonce, expected=expected))

    async def _run_job(self, job: Job) -> None:
        try:
            await self._broadcast_until_mined(job)
        finally:
            self._busy_wallets.remove(job.relay.wallet)
        if job.state is JobState.MINED:
            await asyncio.sleep(self._confirm_delay_s)
            job.state = JobState.CONFIRMED

    async def _broadcast_until_mined(self, job: Job) -> None:
        while True:
            try:
                if job.state is JobState.NEW:
                    await self._broadcast(job)
                if job.state is not JobState.EXECUTED:
                    return
                receipt = await self._chain.fetch_receipt(job.transaction_hash)
            except Transient:
                await asyncio.sleep(_RETRY_DELAY_S)
                continue
            if receipt is not None:
                is_success = receipt.status == 1
                job.state, job.error = (
                    (JobState.MINED, "")
                    if is_success
                    else (JobState.FAILED, "transaction reverted")
                )
                return
            await asyncio.sleep(_POLL_INTERVAL_S)

    async def _broadcast(self, job: Job) -> None:
        deadline = job.relay.deadline
        if deadline is not None and deadline < await self._chain.fetch_time():
            job.state, job.error = JobState.INVALID, "deadline has passed"
            return
        try:
            job.transaction_hash = await self._chain.broadcast(job.relay)
        except CallWouldRevert as error:
            job.state, job.error = JobState.FAILED, str(error)
        else:
            job.state = JobState.EXECUTED

    async def _find_wallet(self, owner: str, relay_type: RelayType) -> str:
        """The owner's wallet: of the possible addresses one that is deployed, else the first."""
        candidates = candidate_wallets(owner, relay_type)
        for wallet in candidates[1:]:
            if (
                await self._chain.fetch_owner(candidates[0]) is None
                and await self._chain.fetch_owner(wallet) is not None
            ):
                return wallet
        return candidates[0]


def _parse_address(request: web.Request) -> str:
    """Raises: BadRequest."""
    try:
        return checksummed(request.query["address"])
    except (KeyError, ValueError) as error:
        raise BadRequest("address is missing or not an address") from error


def _parse_relay_type(request: web.Request) -> RelayType:
    """Raises: BadRequest."""
    try:
        return RelayType(request.query["type"])
    except (KeyError, ValueError) as error:
        raise BadRequest("type must be one of " + ", ".join(RelayType)) from error
