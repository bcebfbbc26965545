"""Connections to the CLOB, apart for each use: requests of one use that the venue does not answer
take none of another.
"""

from enum import Enum, auto

import aiohttp

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
    """One session per use, opened at its first request."""

    def __init__(self, *, timeout_s: float) -> None:
        """``timeout_s``: of an order for the reply, of other requests for everything."""
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
        if use is Use.ORDERS:
            return aiohttp.ClientTimeout(
                total=CONNECT_WITHIN_S + self._timeout_s,
                connect=CONNECT_WITHIN_S,
                sock_read=self._timeout_s,
            )
        return aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=CONNECT_WITHIN_S)
