"""The faults of a front, their options, and whether one occurs now."""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class RpcFault(StrEnum):
    """What goes wrong between a client and a provider."""

    LAG = "lag"
    """The front answers as of ``blocks`` blocks ago; the pool it shows is today's."""
    DELAY = "delay"
    """The answer comes ``seconds`` later; the request was handled at once."""
    RATE_LIMITED = "rate-limited"
    """429, with an error in the body; nothing is handled."""
    NO_ANSWER = "no-answer"
    """The request is handled; no answer comes until the client gives up."""
    CLOSED_BEFORE = "closed-before"
    """The connection is closed; nothing is handled."""
    CLOSED_AFTER = "closed-after"
    """The request is handled; the connection is closed without an answer."""
    TEXT_BODY = "text-body"
    """503 and a line of plain text; nothing is handled."""
    JSON_TEXT_BODY = "json-text-body"
    """The body is a JSON string that contains the JSON of an error; nothing is handled."""
    NULL_BLOCK_FIELDS = "null-block-fields"
    """Receipts have null for their block's number and hash and for their index."""
    RECEIPTS_MISSING = "receipts-missing"
    """Receipts are null."""
    POOL_MISSING = "pool-missing"
    """The front knows no transaction that is in no block; those that it is sent enter the pool."""
    OTHER_HEAD = "other-head"
    """The last ``blocks`` blocks have other hashes than at other fronts."""
    BATCH_LIMIT = "batch-limit"
    """A batch of more than ``limit`` requests is refused as a whole."""
    TOPIC_LIMIT = "topic-limit"
    """eth_getLogs with more than ``limit`` topics at one position is refused."""
    RANGE_LIMIT = "range-limit"
    """eth_getLogs over more than ``limit`` blocks is refused."""
    FINALIZED_NULL = "finalized-null"
    """The blocks ``finalized`` and ``safe`` are null."""
    FINALIZED_ERROR = "finalized-error"
    """What asks for ``finalized`` or ``safe`` gets an error."""
    NONCE_TOO_LOW = "nonce-too-low"
    """eth_sendRawTransaction is refused as by a node on a branch where the nonce is mined."""


LIMIT_BY_FAULT: Mapping[RpcFault, int] = {
    RpcFault.BATCH_LIMIT: 100,
    RpcFault.TOPIC_LIMIT: 1_000,
    RpcFault.RANGE_LIMIT: 2_000,
}
"""Common ones of providers."""


class RpcFaultOptions(BaseModel):
    """For which methods a fault occurs, how often, and its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: frozenset[str] = frozenset()
    """Only requests for these; empty: for all. A batch counts as each of its methods."""
    times: int | None = Field(default=None, ge=1)
    """It occurs at most so often; None: until it is cleared."""
    blocks: int = Field(default=1, ge=0)
    seconds: Decimal = Field(default=Decimal(2), ge=0, le=600)
    limit: int | None = Field(default=None, ge=1)
    """None: 100 requests in a batch, 1,000 topics, 2,000 blocks."""


class RpcFaults:
    """The faults that are on at one front, and how often each has occurred."""

    def __init__(self) -> None:
        self.strike_counts: Counter[RpcFault] = Counter()
        self._options: dict[RpcFault, RpcFaultOptions] = {}

    @property
    def active(self) -> Mapping[RpcFault, RpcFaultOptions]:
        return self._options

    def set(self, faults: Mapping[RpcFault, RpcFaultOptions]) -> None:
        """Turn these on, counted from 0, and all others off."""
        self.strike_counts.clear()
        self._options = dict(faults)

    def add(self, fault: RpcFault, options: RpcFaultOptions | None = None) -> None:
        """Turn one on, counted from 0; all others stay as they are."""
        self.strike_counts.pop(fault, None)
        self._options[fault] = options or RpcFaultOptions()

    def clear(self, fault: RpcFault | None = None) -> None:
        """Turn one off; None: all."""
        for each in [fault] if fault else list(self._options):
            self._options.pop(each, None)

    def trigger(self, fault: RpcFault, *methods: str) -> RpcFaultOptions | None:
        """Let it occur for a request with these methods, if it is on for one of them; None: it does
        not occur.
        """
        options = self.find(fault, *methods)
        if options is not None:
            self.strike_counts[fault] += 1
        return options

    def find(self, fault: RpcFault, *methods: str) -> RpcFaultOptions | None:
        """Its options, if it would occur; nothing is counted."""
        options = self._options.get(fault)
        if options is None or (options.methods and not options.methods & {*methods}):
            return None
        is_over = options.times is not None and self.strike_counts[fault] >= options.times
        return None if is_over else options

    def find_limit(self, fault: RpcFault, *methods: str) -> int | None:
        """The limit that it sets to a request; None: it sets none."""
        options = self.find(fault, *methods)
        return None if options is None else options.limit or LIMIT_BY_FAULT[fault]
