"""A client of the venue whose replies a test sets, by API key."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from eth_account import Account

from services.executor.adapters.gates import VenueGates
from services.executor.adapters.keyring import Keyring
from services.executor.adapters.venue import ClobVenue
from shared.db.leases import Lease
from shared.domain.errors import Transient
from shared.polymarket.clob import Clob, EndlessPages, Unauthorized
from shared.polymarket.replies import Accepted, Reason, Rejected, Reply
from shared.polymarket.request_budget import Priority
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Credentials, Wallet
from tests.builders import NOON, ORDER_HASH
from tests.fakes import Clock

PROBE_INTERVAL = timedelta(seconds=1)
KEY = "0x" + "17" * 32
WALLET = Wallet(proxy=Account.from_key(KEY).address, private_key=KEY)
ACCEPTED = Accepted(
    order_id=ORDER_HASH, status="matched", making=1, taking=2, trade_ids=("venue-1",)
)
UNAUTHORIZED = Rejected(Reason.UNAUTHORIZED, "Unauthorized/Invalid api key")
NO_BALANCE = Rejected(Reason.BALANCE_TOO_LOW, "not enough balance / allowance")


class ScriptedClob(Clob):
    """``replies`` are given in turn to posts with a valid key; without one they are refused."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(VenueSettings(), now=clock)
        self.replies: deque[Reply] = deque()
        self.valid_key = "key-1"
        self.issued_key: str | Exception = "key-1"
        self.posted: list[tuple[str, str]] = []
        """Body and API key of each post."""
        self.keys_requested = 0
        self.refreshed: list[tuple[str | None, int]] = []
        self.refresh_error: Transient | None = None
        self.rows: list[Mapping[str, Any]] = []
        self.pages_end = True
        self.read_from: list[datetime] = []
        """From when on trades were read, by request."""
        self.read_by_id: list[str] = []
        self.error_by_id: Transient | None = None
        self.reads_refused = 0

    async def fetch_credentials(
        self, wallet: Wallet, *, priority: Priority = Priority.LOOKUP
    ) -> Credentials:
        self.keys_requested += 1
        if isinstance(self.issued_key, Exception):
            raise self.issued_key
        return Credentials(address=wallet.signer, key=self.issued_key, secret="s", passphrase="p")

    async def post_order(self, body: str, credentials: Credentials) -> Reply:
        self.posted.append((body, credentials.key))
        return self.replies.popleft() if credentials.key == self.valid_key else UNAUTHORIZED

    async def refresh_balance(
        self, credentials: Credentials, *, token_id: str | None, signature_type: int
    ) -> None:
        if self.refresh_error is not None:
            raise self.refresh_error
        self.refreshed.append((token_id, signature_type))

    async def fetch_trades(
        self,
        credentials: Credentials,
        *,
        maker_address: str,
        since: datetime,
        priority: Priority = Priority.LOOKUP,
    ) -> list[Mapping[str, Any]]:
        self._require_valid(credentials)
        self.read_from.append(since)
        rows = [row for row in self.rows if not is_before(row, since)]
        if not self.pages_end:
            raise EndlessPages("the pages do not end", rows)
        return rows

    async def fetch_trade(
        self,
        credentials: Credentials,
        trade_id: str,
        *,
        maker_address: str,
        priority: Priority = Priority.LOOKUP,
    ) -> list[Mapping[str, Any]]:
        self._require_valid(credentials)
        self.read_by_id.append(trade_id)
        if self.error_by_id is not None:
            raise self.error_by_id
        return [row for row in self.rows if row.get("id") == trade_id]

    async def is_order_open(self, credentials: Credentials, order_hash: str) -> bool:
        self._require_valid(credentials)
        return False

    def _require_valid(self, credentials: Credentials) -> None:
        if credentials.key != self.valid_key:
            self.reads_refused += 1
            raise Unauthorized("status 401")


def is_before(row: Mapping[str, Any], since: datetime) -> bool:
    """Whether the row's trade was matched before then, if the row says when it was."""
    match_time = str(row.get("match_time", ""))
    return match_time.isdecimal() and int(match_time) < since.timestamp()


class AnyLease:
    """Holds the lease of every proxy."""

    def lease_for(self, key: str) -> Lease:
        return Lease(partition=0, token=1, valid_until=float("inf"))


@dataclass(slots=True)
class VenueHarness:
    """The executor's venue adapter at a scripted client, with one wallet's key."""

    clock: Clock = field(default_factory=lambda: Clock(NOON))
    clob: ScriptedClob = field(init=False)
    keyring: Keyring = field(init=False)
    venue: ClobVenue = field(init=False)

    def __post_init__(self) -> None:
        self.clob = ScriptedClob(self.clock)
        self.keyring = Keyring({WALLET.proxy: WALLET}, self.clob, now=self.clock)
        self.venue = ClobVenue(
            self.clob,
            self.keyring,
            AnyLease(),
            VenueGates(now=self.clock, probe_interval=PROBE_INTERVAL),
            now=self.clock,
        )
