"""The values of the metrics' labels: closed lists, and small numbers; never an address or an id."""

import re
from enum import StrEnum
from typing import assert_never

from shared.polymarket.replies import (
    Accepted,
    Duplicated,
    Killed,
    Rejected,
    Reply,
    ReplyLost,
    RetryLater,
)

OTHER = "other"

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,47}|\d{1,4}|\d+(?:\.\w+){1,3}")
_LONG_HEX_OR_DIGITS = re.compile(r"[0-9a-fA-F]{12}|\d{5}")


def bounded(value: str | int) -> str:
    """The value, or ``other`` if it is not a word, a small number or a version: each new value of a
    label adds a series that stays as long as the process runs.
    """
    text = str(value)
    return text if _WORD.fullmatch(text) and not _LONG_HEX_OR_DIGITS.search(text) else OTHER


class MessageOutcome(StrEnum):
    """How the work on one message ended."""

    HANDLED = "handled"
    IGNORED = "ignored"
    """The service has nothing to do for messages of this type."""
    PARKED = "parked"
    """It became a dead letter."""
    WAITING = "waiting"
    """Its key is blocked by an earlier dead letter: it waits behind that one."""
    PARTITION_REVOKED = "partition_revoked"
    """Its partition was given back meanwhile: another instance gets the message again."""


class ParkedReason(StrEnum):
    """Why a message became a dead letter: the class of the error."""

    INVALID_MESSAGE = "InvalidMessage"
    UNKNOWN_VERSION = "UnknownVersion"


class Tip(StrEnum):
    """A block that a feed's position is compared with."""

    FINALIZED = "finalized"
    HEAD = "head"


class SettledFills(StrEnum):
    """What became of a follower's fills of one final block."""

    PUBLISHED = "published"
    LEFT_OUT = "left_out"
    """One of their logs is unusable: the venue is asked about these orders."""


class CarriedAmount(StrEnum):
    """What became of an amount below the venue's minimum."""

    KEPT = "kept"
    """A follow carries it to a later trade."""
    SPENT = "spent"
    """A later trade's copy contains it."""
    LET_GO = "let_go"
    """No later trade came in time, or the leader sold."""


class Feed(StrEnum):
    """A source outside Kafka that a service reads."""

    RTDS = "rtds"
    """The activity socket."""
    CHAIN = "chain"
    """The exchanges' logs."""
    DATA = "data"
    """The Data API."""
    MARKET = "market"
    """The market channel: order books."""
    TRADES = "trades"
    """The venue's list of our trades."""
    LEVELS = "levels"
    """What leaders hold on the chain."""


class FrameKind(StrEnum):
    """What a frame, a row or a log of a feed was."""

    LEADER_FILL = "leader_fill"
    """A new fill of a leader."""
    REPEATED = "repeated"
    """A leader's fill that this instance has published before."""
    NOT_FOLLOWED = "not_followed"
    """A trade of a wallet that is no leader."""
    BOOK = "book"
    """A change of an order book or of a tick size."""
    IGNORED = "ignored"
    """A message that carries no trade."""
    TEXT = "text"
    """A sentence of the venue, such as ``INVALID OPERATION``: logged, and without effect."""
    NO_TRADE = "no_trade"
    """A log of a leader's order that gives nothing, or more than there can be: not copied."""
    UNKNOWN = "unknown"
    """An envelope without a topic or type: the feed has another form than the one we know."""
    MALFORMED = "malformed"
    """It could not be read and is kept as a dead letter."""
    REFUSED = "refused"
    """The venue refused the subscription."""
    FAILED = "failed"
    """The request could not be answered; it is made again in the next round."""


class Delay(StrEnum):
    """What a delayed entry would have been refused for."""

    RATE = "too_many_entries"
    """The rate of its follower has room for it later."""
    QUOTE = "quote_too_old"
    """It waited for its judgement for so long: it is quoted again."""


class ExitEnd(StrEnum):
    """How an exit ended."""

    DONE = "done"
    """It sold what it was to sell, there was nothing to sell, or the follow copies no exits."""
    MISSED = "missed"
    """The leader's sale was seen too late to be copied: reconciliation makes the exit."""
    UNSOLD = "unsold"
    """Shares are left: an operator must decide what happens to them."""


class Cache(StrEnum):
    """What is cached."""

    QUOTES = "quotes"
    BALANCES = "balances"
    MARKET_DETAILS = "market_details"
    """Tags, liquidity and end of a market, where filters need them."""


class CacheResult(StrEnum):
    """How a request to a cache was answered."""

    HIT = "hit"
    """From what is kept."""
    SHARED = "shared"
    """By joining a request that is under way."""
    MISS = "miss"
    """By asking outside."""
    UNREADABLE = "unreadable"
    """The entry of the shared cache could not be read; counted besides the miss that follows."""


class Eviction(StrEnum):
    """Why an entry left a cache."""

    AGE = "age"
    """It was found too old."""
    SIZE = "size"
    """The cache was full, and it was the least recently used."""


class OrderReply(StrEnum):
    """The venue's reply to a posted order."""

    ACCEPTED = "accepted"
    KILLED = "killed"
    REJECTED = "rejected"
    DUPLICATED = "duplicated"
    RETRY_LATER = "retry_later"
    REPLY_LOST = "reply_lost"


def order_reply(reply: Reply) -> OrderReply:
    """The label of a reply."""
    match reply:
        case Accepted():
            return OrderReply.ACCEPTED
        case Killed():
            return OrderReply.KILLED
        case Rejected():
            return OrderReply.REJECTED
        case Duplicated():
            return OrderReply.DUPLICATED
        case RetryLater():
            return OrderReply.RETRY_LATER
        case ReplyLost():
            return OrderReply.REPLY_LOST
        case _:
            assert_never(reply)


class Stage(StrEnum):
    """A point on the way of a copy from the leader's fill to the signed order."""

    INTENDED = "intended"
    APPROVED = "approved"
    SIGNED = "signed"


class AmbiguousTrade(StrEnum):
    """What was decided about a leader's fill that may belong to a trade that is known already."""

    AWAITS_CONFIRMATION = "awaits_confirmation"
    """It is not copied until its transaction is in a block."""
    RESENT = "resent"
    """It is taken for a trade that was copied, settled under another transaction."""
    REPORTED_AGAIN = "reported_again"
    """It was held back for another trade, is a trade of its own, and is published again."""
    BEFORE_HISTORY = "before_history"
    """It is so old that its rows may have been pruned: it is not copied."""


class CopyStart(StrEnum):
    """When the copies of a slice of a leader's trade began."""

    AT_ONCE = "at_once"
    """With the first row that reported it."""
    WAITED = "waited"
    """Later: it could have been a trade that was copied already, until its transaction was in a
    block."""


class SignedAttempt(StrEnum):
    """Why a transaction of a transfer was signed."""

    FIRST = "first"
    REPLACEMENT = "replacement"
    """With higher fees."""
    CANCEL = "cancel"
    """To use up the nonce without the transfer."""


class NodeConcern(StrEnum):
    """What is wrong with the nodes that transfers are sent to."""

    SILENT = "silent"
    """A node did not answer."""
    DISPUTED = "disputed"
    """Nodes contradict each other, an answer cannot be read, or no final block is known."""
    LATE = "late"
    """A node's newest, or its finalized, block is old."""


def name_wallet(address: str) -> str:
    """The label of an operator wallet: ``wallet-`` and the last 4 digits of its address."""
    return f"wallet-{address[-4:].lower()}"
