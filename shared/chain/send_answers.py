"""What a node's refusal of a transaction means, by the texts of the known nodes. Pure.

The same refusal has another code with each node, and its text may go on with numbers. A text that
is not known says nothing: the transaction may have been sent.
"""

import re
from enum import StrEnum
from typing import Final

from shared.chain.answers import NodeRefused


class SendAnswer(StrEnum):
    """What a node says to a transaction. None of it says what becomes of the transaction."""

    ACCEPTED = "accepted"
    KNOWN = "known"
    """The node has it already, in its pool or in a block."""
    NONCE_TOO_LOW = "nonce_too_low"
    """By this node's view, a transaction with this nonce is in a block: this one, an attempt
    with other fees, or a foreign one; or the node has not seen a reorg yet."""
    UNDERPRICED = "underpriced"
    """The node has another one with this nonce, whose fees this one does not raise enough."""
    TIP_TOO_LOW = "tip_too_low"
    BELOW_BASE_FEE = "below_base_fee"
    NO_GAS_MONEY = "no_gas_money"
    POOL_FULL = "pool_full"
    INVALID = "invalid"
    """The node can never take this transaction."""
    UNCLEAR = "unclear"
    """It may have been sent."""


def _compile(*texts: str) -> re.Pattern[str]:
    return re.compile("|".join(texts), re.IGNORECASE)


# The first that matches counts: "replacement transaction underpriced" has "underpriced" in it too.
_PATTERNS: Final = (
    (
        SendAnswer.KNOWN,
        _compile(
            r"already known",
            r"already imported",
            r"known transaction",
            r"same hash",
            r"already in (the )?(mem)?pool",
            r"^mined$",
        ),
    ),
    (SendAnswer.NONCE_TOO_LOW, _compile(r"nonce (is )?too low")),
    (
        SendAnswer.UNDERPRICED,
        _compile(
            r"replacement transaction underpriced",
            r"could not replace",
            r"to replace existing",
            r"replacement fee too low",
        ),
    ),
    (
        SendAnswer.BELOW_BASE_FEE,
        _compile(r"less than block base fee", r"(below|less than) (the )?(block )?base ?fee"),
    ),
    (
        SendAnswer.NO_GAS_MONEY,
        _compile(r"insufficient ?funds"),
    ),
    (
        SendAnswer.POOL_FULL,
        _compile(
            r"pool is full",
            r"pool overflowed",
            r"account limit exceeded",
            r"transaction limit reached",
        ),
    ),
    (
        SendAnswer.TIP_TOO_LOW,
        _compile(
            r"underpriced",
            r"gas price below minimum",
            r"minimum needed .*tip|tip cap .*minimum needed",
            r"^fee too low",
            r"gas ?price too low",
        ),
    ),
    (
        SendAnswer.INVALID,
        _compile(
            r"intrinsic ?gas",
            r"floor data gas",
            r"exceeds block gas limit",
            r"gas limit too high",
            r"gas ?uint(64)? ?overflow",
            r"(invalid|wrong|incorrect) chain.?id",
            r"chain.?id mismatch",
            r"invalid sender",
            r"invalid signature",
            r"invalid transaction v, r, s",
            r"transaction type not supported",
            r"unsupported transaction type",
            r"transaction type is not activated",
            r"max priority fee per gas higher than max fee per gas",
            r"higher than 2\^256-1",
            r"exceeds the configured cap",
            r"oversized data",
            r"negative value",
            r"\brlp",
            r"initcode",
            r"sender not an eoa",
            r"nonce has max value",
            r"only replay-protected",
            r"failed to decode",
            r"typed transaction too short",
        ),
    ),
)


def classify_refusal(refusal: NodeRefused) -> SendAnswer:
    """Return what the node's answer to a sent transaction means; never ``ACCEPTED``."""
    if refusal.is_about_access:
        return SendAnswer.UNCLEAR
    return next(
        (answer for answer, pattern in _PATTERNS if pattern.search(refusal.text)),
        SendAnswer.UNCLEAR,
    )
