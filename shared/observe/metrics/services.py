"""Metrics of what every service does: messages, feeds, caches, controls."""

from shared.domain.books import BookFault
from shared.domain.errors import InvalidMessage, UnknownVersion
from shared.observe.instruments import (
    Label,
    Subject,
    counter,
    gauge,
    histogram,
)
from shared.observe.labels import (
    Cache,
    CacheResult,
    Eviction,
    Feed,
    FrameKind,
    MessageOutcome,
    ParkedReason,
)
from shared.polymarket.request_families import Family

_TOPIC = Label(name="topic", values="the declared topics")
_FEED = Label(name="feed", values=Feed)
_MESSAGE = histogram(
    "slipstream_message_seconds",
    "Work on one message, from its start until its outputs are acknowledged",
    subject=Subject.MESSAGES,
    labels=(_TOPIC, Label(name="outcome", values=MessageOutcome)),
)
_UNFINISHED = gauge(
    "slipstream_messages_unfinished",
    "Messages taken from a partition and not yet finished",
    subject=Subject.MESSAGES,
    labels=(_TOPIC, Label(name="partition", values="the partition's number")),
)
_RETRIES = counter(
    "slipstream_message_retries",
    "Attempts that failed for a passing reason and are repeated",
    subject=Subject.MESSAGES,
    labels=(_TOPIC,),
)
_PARKED = counter(
    "slipstream_messages_parked",
    "Messages that became dead letters",
    subject=Subject.MESSAGES,
    labels=(_TOPIC, Label(name="reason", values=ParkedReason)),
)
_BLOCKED_KEYS = gauge(
    "slipstream_blocked_keys",
    "Keys with an open dead letter, of the whole service: anything but zero is an alarm",
    subject=Subject.MESSAGES,
)
_REDRIVEN = counter(
    "slipstream_messages_redriven",
    "Dead letters that were handled after an operator had redriven them",
    subject=Subject.MESSAGES,
    labels=(_TOPIC,),
)
_VENUE_WAITING = gauge(
    "slipstream_venue_requests_waiting",
    "Requests to the venue that wait for its rate limit",
    subject=Subject.FEEDS,
    labels=(Label(name="family", values=Family),),
)
_VENUE_LIMITED = counter(
    "slipstream_venue_limits_reached",
    "Replies of the venue with 429: it is asked nothing of the kind for as long as it says",
    subject=Subject.FEEDS,
    labels=(Label(name="family", values=Family),),
)
_KEYS_MISSING = gauge(
    "slipstream_api_keys_missing",
    "Wallets of this instance whose API key at the venue is not known yet",
    subject=Subject.FEEDS,
)
_FRAMES = counter(
    "slipstream_feed_frames",
    "What a feed received, by kind: a frame, a row, a log, or a request that failed",
    subject=Subject.FEEDS,
    labels=(_FEED, Label(name="kind", values=FrameKind)),
)
_SILENCE = gauge(
    "slipstream_feed_silent_seconds",
    "Time since the last data of a socket, its keep-alives not counted",
    subject=Subject.FEEDS,
    labels=(_FEED,),
    unit="seconds",
)
_CACHE = counter(
    "slipstream_cache_requests",
    "Requests to a cache, by how they were answered",
    subject=Subject.FEEDS,
    labels=(Label(name="cache", values=Cache), Label(name="result", values=CacheResult)),
)
_EVICTIONS = counter(
    "slipstream_cache_evictions",
    "Entries that left a cache, by the reason",
    subject=Subject.FEEDS,
    labels=(Label(name="cache", values=Cache), Label(name="reason", values=Eviction)),
)
_BOOKS_UNUSABLE = counter(
    "slipstream_books_unusable",
    "Books of the venue that were not used, by what was wrong with them",
    subject=Subject.FEEDS,
    labels=(Label(name="fault", values=BookFault),),
)
_CONTROLS_VERSION = gauge(
    "slipstream_controls_version",
    "Version of the follows and modes that this process acts on; 0: it has read none",
    subject=Subject.PROCESS,
)
_BUILD = gauge(
    "slipstream_build_info",
    "Always 1; the labels say what runs",
    subject=Subject.PROCESS,
    labels=(
        Label(name="service", values="the service's name"),
        Label(name="version", values="the release"),
    ),
)


def message_handled(topic: str, seconds: float, outcome: MessageOutcome) -> None:
    """Record that the work on a message has ended; ``seconds`` of work."""
    _MESSAGE.labels(topic, outcome).observe(seconds)


def messages_unfinished(topic: str, partition: int, n: int) -> None:
    """Set how many messages of a partition are being handled or wait behind one that is."""
    _UNFINISHED.labels(topic, partition).set(n)


def message_retried(topic: str) -> None:
    """Count an attempt that failed for a passing reason and will be repeated."""
    _RETRIES.labels(topic).inc()


def message_parked(topic: str, error: InvalidMessage | UnknownVersion) -> None:
    """Count a message that became a dead letter because of ``error``."""
    is_invalid = isinstance(error, InvalidMessage)
    reason = ParkedReason.INVALID_MESSAGE if is_invalid else ParkedReason.UNKNOWN_VERSION
    _PARKED.labels(topic, reason).inc()


def blocked_keys(n: int) -> None:
    """Set how many keys have an open dead letter: what follows with these keys waits until an
    operator decides or a newer release runs.
    """
    _BLOCKED_KEYS.labels().set(n)


def message_redriven(topic: str) -> None:
    """Count a dead letter that was handled after an operator had redriven it."""
    _REDRIVEN.labels(topic).inc()


def feed_frame(feed: Feed, kind: FrameKind) -> None:
    """Count what a feed received."""
    _FRAMES.labels(feed, kind).inc()


def feed_silent(feed: Feed, seconds: float) -> None:
    """Set for how long a socket has brought no data, also where it still answers pings."""
    _SILENCE.labels(feed).set(seconds)


def venue_requests_waiting(family: Family, *, by: int) -> None:
    """Add to the number of requests that wait for the venue's rate limit."""
    _VENUE_WAITING.labels(family).inc(by)


def venue_limit_reached(family: Family) -> None:
    """Count a reply of the venue that its rate limit is reached."""
    _VENUE_LIMITED.labels(family).inc()


def api_keys_missing(n: int) -> None:
    """Set how many wallets of this instance have no API key yet."""
    _KEYS_MISSING.labels().set(n)


def cache_requested(cache: Cache, result: CacheResult) -> None:
    """Count a request to a cache."""
    _CACHE.labels(cache, result).inc()


def cache_evicted(cache: Cache, reason: Eviction) -> None:
    """Count an entry that left a cache."""
    _EVICTIONS.labels(cache, reason).inc()


def book_unusable(fault: BookFault) -> None:
    """Count a book of the venue that is not used: the next source is asked."""
    _BOOKS_UNUSABLE.labels(fault).inc()


def controls_version(version: int) -> None:
    """Set which version of the follows and modes this process acts on."""
    _CONTROLS_VERSION.labels().set(version)


def build_info(service: str, version: str) -> None:
    """Set which service this process is, and of which release."""
    _BUILD.labels(service, version).set(1)
