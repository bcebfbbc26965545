"""Connections to the CLOB, apart for each use: requests of one use that the venue does not answer
take none of another.
"""

from enum import Enum, auto

import aiohttp

CONNECT_WITHIN_S = 2.0
"""An order that has no connection by then is not sent: its lease and terms were checked right
before."""


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
    """One session per use, opened at its first request."""

    def __init__(self, *, timeout_s: float) -> None:
        """``timeout_s``: of a request, the time that it waits for a connection included."""
        self._timeout_s = timeout_s
        self._sessions: dict[Use, aiohttp.ClientSession] = {}

    def session(self, use: Use) -> aiohttp.ClientSession:
        """The session of this use. A request of ``Use.ORDERS`` that gets no connection in time
        raises aiohttp's ``ConnectionTimeoutError``: none of its bytes have left.
        """
        if use not in self._sessions:
            self._sessions[use] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=LIMITS[use]), timeout=self._timeout(use)
            )
        return self._sessions[use]

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()

    def _timeout(self, use: Use) -> aiohttp.ClientTimeout:
        if use is not Use.ORDERS:
            return aiohttp.ClientTimeout(total=self._timeout_s)
        # Below the total: else a request that waited for a connection looks like one without reply.
        connect_s = min(CONNECT_WITHIN_S, self._timeout_s / 2)
        return aiohttp.ClientTimeout(total=self._timeout_s, connect=connect_s)
