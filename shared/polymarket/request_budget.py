"""The venue's rate limits, shared by everything that one process asks of it.

Each family of endpoints has its own limit, and no family takes from another: together they stay
below the limit of all of the CLOB. A request waits until its family has room. Those that wait are
served by priority, within a priority one wallet after another. Limits: docs/venue-protocol.md,
Rate limits. Processes behind one address do not know of one another: ``VENUE_RATE_SHARE`` divides
the limits among them.
"""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum, auto

from shared.domain.errors import Transient
from shared.observe import metrics
from shared.polymarket.request_families import LIMITS, SIGNER_LIMIT, Family, Limit

logger = logging.getLogger(__name__)

DEFAULT_PAUSE_S = 1
"""Of a family, after a 429 that does not say when to ask again."""
MAX_PAUSE_S = 60
"""Longer pauses that the venue asks for are cut: it may answer earlier."""


MIN_SIGNERS = 1_024
"""So many signers' limits are kept before any is forgotten."""


class Priority(IntEnum):
    """Which of the requests that wait in a family is sent first: the lowest number."""

    LOOKUP = auto()
    """Of an order without an outcome, and whatever else a copy waits for."""
    ENTRY_KEY = auto()
    """The API key of a wallet whose order waits for it."""
    POLL = auto()
    """What is asked at regular times."""
    BACKGROUND = auto()
    """Nothing waits for it."""


ROUNDING = 1e-6
"""No request waits for less than this part of one, or of a second."""


class BudgetExhausted(Transient):
    """There is no room for the request within its time. Nothing was sent."""


class TokenBucket:
    """Allows ``Limit.requests`` in any period, times ``share``."""

    def __init__(self, limit: Limit, *, share: float, now_s: float) -> None:
        self._capacity = max(1.0, limit.burst * share)
        self._per_second = (limit.requests - limit.burst) * share / limit.within_s
        self._tokens, self._filled_at_s = self._capacity, now_s

    def wait_s(self, now_s: float) -> float:
        """How long there is no room for a request; 0: there is now."""
        missing = 1.0 - self._tokens_at(now_s)
        return missing / self._per_second if missing > ROUNDING else 0.0

    def is_full(self, now_s: float) -> bool:
        """Whether nothing is known of earlier requests any more."""
        return self._tokens_at(now_s) >= self._capacity

    def take(self, now_s: float) -> None:
        """Count a request, also one that there is no room for yet: it is sent once there is."""
        self._tokens, self._filled_at_s = self._tokens_at(now_s) - 1.0, now_s

    def _tokens_at(self, now_s: float) -> float:
        gained = max(0.0, now_s - self._filled_at_s) * self._per_second
        return min(self._capacity, self._tokens + gained)


class WaitingRequests:
    """Requests that wait for room: by priority, within it in turns of the wallets."""

    def __init__(self) -> None:
        self._turns: dict[Priority, OrderedDict[str, deque[asyncio.Future[None]]]] = {
            priority: OrderedDict() for priority in Priority
        }

    def __bool__(self) -> bool:
        return any(self._turns.values())

    def add(self, request: asyncio.Future[None], *, priority: Priority, wallet: str) -> None:
        self._turns[priority].setdefault(wallet, deque()).append(request)

    def remove(self, request: asyncio.Future[None], *, priority: Priority, wallet: str) -> None:
        """Forget a request, if it still waits."""
        turns = self._turns[priority]
        if request in turns.get(wallet, ()):
            turns[wallet].remove(request)
            if not turns[wallet]:
                del turns[wallet]

    def pop(self) -> asyncio.Future[None]:
        """The next request. Raises: StopIteration where none waits."""
        turns = next(turns for turns in self._turns.values() if turns)
        wallet, requests = turns.popitem(last=False)
        request = requests.popleft()
        if requests:
            turns[wallet] = requests
        return request


@dataclass(slots=True)
class _Line:
    """The requests of one family."""

    buckets: list[TokenBucket]
    waiting: WaitingRequests = field(default_factory=WaitingRequests)
    paused_until_s: float = 0.0
    serving: asyncio.Task[None] | None = None
    """Runs while requests wait."""

    def wait_s(self, now_s: float) -> float:
        pause_s = self.paused_until_s - now_s
        return max(
            pause_s if pause_s > ROUNDING else 0.0, *(each.wait_s(now_s) for each in self.buckets)
        )

    def take(self, now_s: float) -> None:
        for bucket in self.buckets:
            bucket.take(now_s)


class RequestBudget:
    """One for each process, given to all of its clients of the venue."""

    def __init__(
        self,
        *,
        share: Decimal = Decimal(1),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``share``: of the limits per address."""
        self._clock, self._sleep, self._share = clock, sleep, float(share)
        self._lines = {
            family: _Line([TokenBucket(each, share=self._share, now_s=clock()) for each in limits])
            for family, limits in LIMITS.items()
        }
        self._signers: dict[str, TokenBucket] = {}
        """Of those that have posted lately."""
        self._forget_at = MIN_SIGNERS

    async def wait_for_room(
        self, family: Family, *, priority: Priority = Priority.LOOKUP, wallet: str = ""
    ) -> None:
        """Return when a request of this family may be sent, and count it as sent. ``wallet``: whose
        turn it takes.
        """
        line = self._lines[family]
        if not line.waiting and line.wait_s(self._clock()) == 0.0:
            line.take(self._clock())
            return
        request: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiting.add(request, priority=priority, wallet=wallet)
        metrics.venue_requests_waiting(family, by=1)
        if line.serving is None or line.serving.done():
            line.serving = asyncio.create_task(self._serve(line))
        try:
            await request
        finally:
            metrics.venue_requests_waiting(family, by=-1)
            line.waiting.remove(request, priority=priority, wallet=wallet)

    async def wait_for_order(self, signer: str, *, within_s: float) -> None:
        """Return when an order of this signer may be posted, and count it as posted.

        Raises: BudgetExhausted where that is not within this time.
        """
        line, bucket, now_s = self._lines[Family.ORDERS], self._signer(signer), self._clock()
        signer_wait_s, line_wait_s = bucket.wait_s(now_s), line.wait_s(now_s)
        if signer_wait_s == line_wait_s == 0.0 and not line.waiting:
            bucket.take(now_s)
            line.take(now_s)
            return
        if max(signer_wait_s, line_wait_s) > within_s:
            raise BudgetExhausted(
                f"the venue's limit of orders {'per signer' if signer_wait_s else 'per address'} "
                "is used up for now"
            )
        bucket.take(now_s)
        if signer_wait_s:
            await self._sleep(signer_wait_s)
        try:
            async with asyncio.timeout(within_s):
                await self.wait_for_room(Family.ORDERS, wallet=signer)
        except TimeoutError:
            raise BudgetExhausted("too many orders wait for the venue's limit") from None

    def slow_down(self, family: Family, *, retry_after_s: int | None) -> None:
        """Send no request of this family until the venue wants to be asked again: it answered with
        429.
        """
        metrics.venue_limit_reached(family)
        pause_s = min(retry_after_s or DEFAULT_PAUSE_S, MAX_PAUSE_S)
        line = self._lines[family]
        until_s = self._clock() + pause_s
        if until_s > line.paused_until_s:
            line.paused_until_s = until_s
            logger.warning(
                "the venue's limit of %s is reached: no such request is sent for %d s",
                family,
                pause_s,
            )

    def _signer(self, signer: str) -> TokenBucket:
        bucket = self._signers.get(signer)
        if bucket is None:
            if len(self._signers) >= self._forget_at:
                self._forget_signers()
            bucket = self._signers[signer] = TokenBucket(
                SIGNER_LIMIT, share=max(1.0, self._share), now_s=self._clock()
            )
        return bucket

    def _forget_signers(self) -> None:
        """Forget those whose whole limit is free again: a new bucket says the same."""
        now_s = self._clock()
        self._signers = {
            signer: bucket for signer, bucket in self._signers.items() if not bucket.is_full(now_s)
        }
        self._forget_at = max(MIN_SIGNERS, 2 * len(self._signers))

    async def _serve(self, line: _Line) -> None:
        while line.waiting:
            now_s = self._clock()
            if wait_s := line.wait_s(now_s):
                await self._sleep(wait_s)
                continue
            request = line.waiting.pop()
            if not request.done():  # its caller may have been cancelled
                line.take(now_s)
                request.set_result(None)
