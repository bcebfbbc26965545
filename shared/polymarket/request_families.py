"""The venue's endpoints that share a rate limit, and the limits. Pure.

docs/venue-protocol.md, Rate limits.
"""

from dataclasses import dataclass
from enum import StrEnum


class Family(StrEnum):
    """Endpoints that share a limit of the venue."""

    ORDERS = "orders"
    TRADES = "trades"
    """``/data/*``: our own orders and trades."""
    API_KEYS = "api_keys"
    BALANCE_UPDATES = "balance_updates"
    BOOKS = "books"
    OTHER = "other"
    """Everything else of the CLOB."""
    GAMMA = "gamma"
    DATA_TRADES = "data_trades"
    DATA_POSITIONS = "data_positions"
    DATA_OTHER = "data_other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """``requests`` in any period of ``within_s``, of which ``burst`` may be sent at once."""

    requests: int
    within_s: int
    burst: int


def _limit(requests: int) -> Limit:
    return Limit(requests=requests, within_s=10, burst=requests // 10)


LIMITS = {
    Family.ORDERS: (_limit(5_000), Limit(requests=120_000, within_s=600, burst=60_000)),
    Family.TRADES: (_limit(500),),
    Family.API_KEYS: (_limit(100),),
    Family.BALANCE_UPDATES: (_limit(50),),
    Family.BOOKS: (_limit(1_500),),
    Family.OTHER: (_limit(1_000),),
    Family.GAMMA: (_limit(300),),
    Family.DATA_TRADES: (_limit(300),),
    Family.DATA_POSITIONS: (_limit(200),),
    Family.DATA_OTHER: (_limit(200),),
}
"""The venue's, per address. Those of ``OTHER`` and ``DATA_OTHER`` are ours: the venue names none
but that of the CLOB, or of the Data API, as a whole."""
CLOB_LIMIT = 9_000
DATA_API_LIMIT = 800
"""In ten seconds, of all families together."""

FAMILY_BY_PATH = (
    ("/data/", Family.TRADES),
    ("/auth/", Family.API_KEYS),
    ("/balance-allowance/update", Family.BALANCE_UPDATES),
    ("/book", Family.BOOKS),
    ("/midpoint", Family.BOOKS),
    ("/v2/trades", Family.DATA_TRADES),
    ("/v2/positions", Family.DATA_POSITIONS),
    ("/v2/", Family.DATA_OTHER),
)
"""By the beginning of a path of the CLOB or of the Data API."""

SIGNER_LIMIT = Limit(requests=460, within_s=10, burst=60)
"""Of orders per signer, standard tier: 40 a second, 60 at once."""


def find_family(path: str) -> Family:
    """The family of a path of the CLOB or of the Data API, but for posted orders."""
    return next(
        (family for beginning, family in FAMILY_BY_PATH if path.startswith(beginning)), Family.OTHER
    )
