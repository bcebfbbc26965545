"""Connections to the CLOB, apart for each use: requests of one use that the venue does not answer
take none of another.
"""

from enum import Enum, auto

from shared.polymarket.http_client import HttpClient, Timeouts

CONNECT_WITHIN_S = 2.0
"""How long it may take to open a connection; for an order also to wait for a free one. An order
that has none by then is not sent: its lease and terms were checked right before. Its time for the
reply begins after that, so that no order without a connection looks like one without a reply."""


class Use(Enum):
    ORDERS = auto()
    """Posting orders, and nothing else."""
    ACCOUNTS = auto()
    """What an order may have to wait for: the wallet's API key, the venue's clock, and the refresh
    of its view of a balance."""
    READS = auto()
    """Everything else."""


LIMITS = {Use.ORDERS: 32, Use.ACCOUNTS: 32, Use.READS: 192}
"""Per process. Orders: the venue answers one within milliseconds, and accepts no more than a few
dozens a second per signer. Reads: more than the executor's feeds have in flight at once, so that
lookups get one too."""


class Connections:
    """One client per use, made at its first request."""

    def __init__(self, base_url: str, *, timeout_s: float) -> None:
        """``timeout_s``: of an order for the reply, of other requests for everything."""
        self._base_url, self._timeout_s = base_url, timeout_s
        self._clients: dict[Use, HttpClient] = {}

    def client(self, use: Use) -> HttpClient:
        """The client of this use."""
        client = self._clients.get(use)
        if client is None:
            client = self._clients[use] = HttpClient(
                self._base_url, limit=LIMITS[use], timeouts=self._timeouts(use)
            )
        return client

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()

    def _timeouts(self, use: Use) -> Timeouts:
        is_order = use is Use.ORDERS
        return Timeouts(
            connect_s=CONNECT_WITHIN_S,
            acquire_s=CONNECT_WITHIN_S if is_order else self._timeout_s,
            reply_s=self._timeout_s,
            total_s=self._timeout_s + (CONNECT_WITHIN_S if is_order else 0),
        )
