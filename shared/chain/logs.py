"""Logs of the exchanges (eth_getLogs, receipts) as fills. Pure.

The topic0 values were measured on 2026-11-22.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_utils.address import to_checksum_address

from shared.chain.answers import describe, parse_data, parse_hash, parse_quantity
from shared.domain.errors import Transient
from shared.domain.money import Side

ORDER_FILLED_V1: Final = "0xd0a08e8c493f9c94f29311604c9de1b4e8c8d4c06bd0c789af57f2d65bfec0f6"
ORDER_FILLED: Final = (
    "0xd543adfd945773f1a62f74f0ee55a5e3b9b1a28262980ba90b1a89f2ea84d8ee"  # V2 and V3
)
ORDERS_MATCHED: Final = (
    "0x174b3811690657c217184f89418266767c87e4805d09680c39fc9c031c0cab7c"  # V2 and V3
)
FEE_CHARGED: Final = (
    "0x55bb3cade9d43b798a4fe5ffdd05024b2d7870df53920673bfc7e68047cd0ab1"  # V2 and V3
)

MAX_AMOUNT = 10**18
"""Base units: more than anybody has."""

_V1_WORDS, _V2_WORDS = 5, 7


class MalformedLog(Transient):
    """A log has OrderFilled's topic but another shape: node or contract differ from what we expect.

    Transient, so that the reader retries and logs it each time. If such a log were skipped, a fill
    could be neither copied nor recorded.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilledLog:
    """One order's fill.

    For a BUY ``maker_amount`` is micro-USDC and ``taker_amount`` micro-shares; for a SELL the
    reverse. ``maker`` is the wallet that placed the order; ``taker`` is the exchange itself where
    that order was the taker's. A fill is identified by (``block_hash``, ``log_index``): after a
    reorg the same ``tx_hash`` can be in another block. ``fee`` is in micro-USDC, and on V1 in units
    of what the order received.
    """

    exchange: str
    tx_hash: str
    block_number: int
    block_hash: str
    log_index: int
    order_hash: str
    maker: str
    taker: str
    side: Side
    token_id: int
    maker_amount: int
    taker_amount: int
    fee: int

    @property
    def is_taker_order(self) -> bool:
        """Whether this wallet's order took liquidity."""
        return self.taker == self.exchange

    @property
    def shares(self) -> int:
        """Micro-shares that changed hands."""
        return self.taker_amount if self.side is Side.BUY else self.maker_amount

    @property
    def usdc(self) -> int:
        """Micro-USDC that changed hands, without the fee."""
        return self.maker_amount if self.side is Side.BUY else self.taker_amount


def decode_order_fills(logs: Iterable[Mapping[str, Any]]) -> list[OrderFilledLog]:
    """Return the fills among the logs, in their order, without other events and removed logs.

    Raises: MalformedLog, and Transient for a field that is not what JSON-RPC says.
    """
    try:
        return [
            decode_order_filled(log)
            for log in logs
            if is_order_filled(log) and not _is_removed(log)
        ]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise MalformedLog(f"not a list of logs: {type(error).__name__}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableFill:
    """A log with OrderFilled's topic that is otherwise malformed."""

    maker: str
    block_number: int
    reason: str


def decode_order_fills_or_failures(
    logs: Iterable[Mapping[str, Any]],
) -> list[OrderFilledLog | UnreadableFill]:
    """Return the fills among the logs as ``decode_order_fills`` does; a malformed one fails alone,
    where its wallet and its block can be read. Raises: MalformedLog, Transient.
    """
    decoded: list[OrderFilledLog | UnreadableFill] = []
    if not isinstance(logs, list):
        raise MalformedLog(f"not a list of logs: {type(logs).__name__}")
    for log in logs:
        try:
            decoded += decode_order_fills([log])
        except Transient as error:
            decoded.append(_name_unreadable(log, error))
    return decoded


def _name_unreadable(log: Mapping[str, Any], error: Transient) -> UnreadableFill:
    """Raises: the error, where the log does not say whose it is."""
    try:
        maker, block = _topic_address(log["topics"][2]), log["blockNumber"]
        number = parse_quantity(block, "log's blockNumber")
    except (LookupError, TypeError, Transient):
        raise error from None
    return UnreadableFill(maker=maker, block_number=number, reason=str(error))


def decode_receipt_fills(
    logs: Iterable[Mapping[str, Any]], *, exchanges: Collection[str]
) -> list[OrderFilledLog]:
    """Return the fills among a receipt's logs that these exchanges (checksummed) emitted: any
    contract that is called in a settlement, a maker's wallet for example, can emit an event that
    looks like a fill. Raises: as ``decode_order_fills``, also for amounts that nobody has.
    """
    fills = decode_order_fills(
        log for log in logs if to_checksum_address(log["address"]) in exchanges
    )
    for fill in fills:
        if max(fill.maker_amount, fill.taker_amount, fill.fee) > MAX_AMOUNT:
            raise MalformedLog(f"OrderFilled of impossible amounts in {fill.tx_hash}")
    return fills


def is_order_filled(log: Mapping[str, Any]) -> bool:
    """Raises: MalformedLog where the log has no list of topics; an event without any has an empty
    one. For something that is not a log also LookupError and TypeError.
    """
    topics = log["topics"]
    if not isinstance(topics, list):
        raise MalformedLog(f"a log's topics are no list, but {type(topics).__name__}")
    return bool(topics) and topics[0] in (ORDER_FILLED, ORDER_FILLED_V1)


def _is_removed(log: Mapping[str, Any]) -> bool:
    """Whether a reorg has removed the log's block from the chain."""
    removed = log.get("removed")
    if not isinstance(removed, bool | None):
        raise MalformedLog(f"a log is neither removed nor not, but {describe(removed)}")
    return removed is True


def decode_order_filled(log: Mapping[str, Any]) -> OrderFilledLog:
    """Decode one OrderFilled log of any exchange version, as JSON-RPC gives it.

    Raises: MalformedLog, and Transient for a field that is not what JSON-RPC says; for something
    that is not a log also LookupError, TypeError, ValueError and AttributeError.
    """
    topics: Sequence[str] = log["topics"]
    is_v1 = topics[0] == ORDER_FILLED_V1
    words = _words(log["data"])
    if len(topics) != 4 or len(words) != (_V1_WORDS if is_v1 else _V2_WORDS):
        raise MalformedLog(
            f"OrderFilled with {len(topics)} topics and {len(words)} words "
            f"in {describe(log.get('transactionHash'))}"
        )
    side, token_id = _v1_side_and_token(words) if is_v1 else _v2_side_and_token(words)
    return OrderFilledLog(
        exchange=to_checksum_address(log["address"]),
        tx_hash=parse_hash(log["transactionHash"], "log's transactionHash"),
        block_number=parse_quantity(log["blockNumber"], "log's blockNumber"),
        block_hash=parse_hash(log["blockHash"], "log's blockHash"),
        log_index=parse_quantity(log["logIndex"], "log's logIndex"),
        order_hash=parse_hash(topics[1], "log's order hash"),
        maker=_topic_address(topics[2]),
        taker=_topic_address(topics[3]),
        side=side,
        token_id=token_id,
        maker_amount=words[2],
        taker_amount=words[3],
        fee=words[4],
    )


def maker_topics(makers: Iterable[str]) -> list[Any]:
    """Return the eth_getLogs topic filter for the V1, V2 and V3 fills of these wallets' own orders.

    Each fill matches once: a log with the wallet as ``taker`` is about an order of its
    counterparty, with that order's side and token.
    """
    return [
        [ORDER_FILLED, ORDER_FILLED_V1],
        None,
        sorted("0x" + maker.removeprefix("0x").lower().rjust(64, "0") for maker in makers),
    ]


def _v1_side_and_token(words: Sequence[int]) -> tuple[Side, int]:
    maker_asset, taker_asset = words[0], words[1]
    if (maker_asset == 0) == (taker_asset == 0):
        raise MalformedLog("a V1 fill must have collateral (asset 0) on exactly one side")
    return (Side.BUY, taker_asset) if maker_asset == 0 else (Side.SELL, maker_asset)


def _v2_side_and_token(words: Sequence[int]) -> tuple[Side, int]:
    if words[0] > 1:
        raise MalformedLog(f"unknown side {words[0]}")
    return (Side.SELL if words[0] else Side.BUY), words[1]


def _words(data: object) -> list[int]:
    raw = parse_data(data, "log's data")
    if len(raw) % 32:
        raise MalformedLog(f"{len(raw)} bytes of data are not a multiple of 32")
    return [int.from_bytes(raw[start : start + 32], "big") for start in range(0, len(raw), 32)]


def _topic_address(topic: object) -> str:
    return to_checksum_address("0x" + parse_hash(topic, "log's wallet")[-40:])
