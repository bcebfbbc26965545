"""Decoding of fills from logs."""

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from shared.chain.addresses import EXCHANGE_V1, EXCHANGE_V2
from shared.chain.logs import (
    FEE_CHARGED,
    ORDER_FILLED,
    ORDER_FILLED_V1,
    ORDERS_MATCHED,
    MalformedLog,
    OrderFilledLog,
    UnreadableFill,
    decode_order_filled,
    decode_order_fills,
    decode_order_fills_or_failures,
    decode_receipt_fills,
    maker_topics,
)
from shared.domain.errors import Transient
from shared.domain.money import Side

LEADER = "0x6e0c80c90ea6c15917308F820Eac91Ce2724B5b5"
OTHER = "0x2B5AD5c4795c026514f8317c7a215E218DcCD6cF"
TOKEN = 86164255047666698431561998962082153188795095073745805924860421733996839904761
ORDER_HASH = "0x" + "0a" * 32
TX_HASH = "0x" + "0b" * 32
BLOCK_HASH = "0x" + "0c" * 32


def a_topic(address: str) -> str:
    return "0x" + address[2:].lower().rjust(64, "0")


def a_log(
    topic0: str = ORDER_FILLED,
    *,
    maker: str = LEADER,
    taker: str = OTHER,
    data: bytes,
    address: str = EXCHANGE_V2,
) -> dict[str, Any]:
    return {
        "address": address.lower(),
        "topics": [topic0, ORDER_HASH, a_topic(maker), a_topic(taker)],
        "data": "0x" + data.hex(),
        "blockNumber": "0x4b3d2f1",
        "blockHash": BLOCK_HASH,
        "transactionHash": TX_HASH,
        "transactionIndex": "0x7",
        "logIndex": "0x1f",
        "removed": False,
    }


def v2_data(
    side: int = 0,
    token_id: int = TOKEN,
    making: int = 5_100_000,
    taking: int = 10_000_000,
    fee: int = 99,
) -> bytes:
    return encode(
        ["uint8", "uint256", "uint256", "uint256", "uint256", "bytes32", "bytes32"],
        [side, token_id, making, taking, fee, b"", b""],
    )


def v1_data(maker_asset: int, taker_asset: int) -> bytes:
    return encode(["uint256"] * 5, [maker_asset, taker_asset, 5_100_000, 10_000_000, 99])


@pytest.mark.parametrize(
    ("topic", "event"),
    [
        (
            ORDER_FILLED_V1,
            "OrderFilled(bytes32,address,address,uint256,uint256,uint256,uint256,uint256)",
        ),
        (
            ORDER_FILLED,
            "OrderFilled(bytes32,address,address,uint8,uint256,uint256,uint256,uint256,bytes32,bytes32)",
        ),
        (ORDERS_MATCHED, "OrdersMatched(bytes32,address,uint8,uint256,uint256,uint256)"),
        (FEE_CHARGED, "FeeCharged(address,uint256)"),
    ],
)
def test_topics_are_the_hashes_of_the_event_signatures(topic: str, event: str) -> None:
    assert topic == "0x" + keccak(text=event).hex()


def test_a_fill_of_exchange_v2_or_v3_is_decoded_completely() -> None:
    assert decode_order_filled(a_log(data=v2_data())) == OrderFilledLog(
        exchange=EXCHANGE_V2,
        tx_hash=TX_HASH,
        block_number=78893809,
        block_hash=BLOCK_HASH,
        log_index=31,
        order_hash=ORDER_HASH,
        maker=LEADER,
        taker=OTHER,
        side=Side.BUY,
        token_id=TOKEN,
        maker_amount=5_100_000,
        taker_amount=10_000_000,
        fee=99,
    )


@pytest.mark.parametrize(
    ("side", "shares", "usdc"), [(0, 10_000_000, 5_100_000), (1, 5_100_000, 10_000_000)]
)
def test_the_side_decides_which_amount_is_shares_and_which_is_usdc(
    side: int, shares: int, usdc: int
) -> None:
    fill = decode_order_filled(a_log(data=v2_data(side)))

    assert (fill.shares, fill.usdc) == (shares, usdc)


def test_an_order_whose_taker_is_the_exchange_took_liquidity() -> None:
    assert decode_order_filled(a_log(taker=EXCHANGE_V2, data=v2_data())).is_taker_order
    assert not decode_order_filled(a_log(taker=OTHER, data=v2_data())).is_taker_order


@pytest.mark.parametrize(("assets", "side"), [((0, TOKEN), Side.BUY), ((TOKEN, 0), Side.SELL)])
def test_the_side_of_a_v1_fill_follows_from_its_collateral(
    assets: tuple[int, int], side: Side
) -> None:
    fill = decode_order_filled(a_log(ORDER_FILLED_V1, address=EXCHANGE_V1, data=v1_data(*assets)))

    assert (fill.side, fill.token_id, fill.exchange, fill.fee) == (side, TOKEN, EXCHANGE_V1, 99)


@pytest.mark.parametrize(
    "log",
    [
        a_log(data=v2_data()[:-32]),
        a_log(data=v2_data()[:-1]),
        a_log(data=v2_data() + bytes(32)),
        a_log(data=b""),
        a_log(data=v2_data(side=2)),
        a_log(ORDER_FILLED_V1, data=v1_data(0, 0)),
        a_log(ORDER_FILLED_V1, data=v1_data(TOKEN, TOKEN)),
        {**a_log(data=v2_data()), "topics": [ORDER_FILLED, ORDER_HASH]},
    ],
    ids=["short", "torn", "long", "empty", "third side", "no token", "no collateral", "no maker"],
)
def test_a_log_of_another_shape_is_a_malformed_log(log: dict[str, Any]) -> None:
    with pytest.raises(MalformedLog):
        decode_order_filled(log)


@pytest.mark.parametrize(
    "field", ["data", "transactionHash", "blockNumber", "blockHash", "logIndex", "address"]
)
@pytest.mark.parametrize("wrong", [None, 7, "NaN", [], {}])
def test_something_that_is_not_a_log_is_a_transient_error(field: str, wrong: Any) -> None:
    with pytest.raises(Transient):
        decode_order_fills([{**a_log(data=v2_data()), field: wrong}])


def test_other_events_and_removed_logs_are_left_out() -> None:
    fill = a_log(data=v2_data())
    logs = [
        a_log(ORDERS_MATCHED, data=v2_data()),
        {**fill, "removed": True},
        {**fill, "topics": []},
        fill,
    ]

    assert decode_order_fills(logs) == [decode_order_filled(fill)]


@pytest.mark.parametrize("topics", [None, "0x", {}, 7])
def test_a_log_without_a_list_of_topics_is_malformed_and_not_another_event(topics: Any) -> None:
    with pytest.raises(Transient):
        decode_order_fills([{**a_log(data=v2_data()), "topics": topics}])


@pytest.mark.parametrize("removed", ["true", "false", 0, 1, [], {}])
def test_a_log_that_is_neither_removed_nor_not_is_malformed(removed: Any) -> None:
    with pytest.raises(MalformedLog):
        decode_order_fills([{**a_log(data=v2_data()), "removed": removed}])


@pytest.mark.parametrize(
    ("field", "wrong"), [("data", "0x00"), ("data", None), ("transactionHash", 7), ("logIndex", [])]
)
def test_a_malformed_log_among_others_fails_alone(field: str, wrong: Any) -> None:
    good = a_log(data=v2_data())
    bad = a_log(maker=OTHER, data=v2_data()) | {field: wrong}

    first, unreadable, last = decode_order_fills_or_failures([good, bad, good])

    assert first == last == decode_order_filled(good)
    assert isinstance(unreadable, UnreadableFill)
    assert (unreadable.maker, unreadable.block_number) == (OTHER, 0x4B3D2F1)
    assert unreadable.reason


@pytest.mark.parametrize(
    "log",
    [
        None,
        {},
        7,
        {**a_log(data=b"\0"), "blockNumber": None},
        {**a_log(data=b"\0"), "topics": [ORDER_FILLED, ORDER_HASH]},
        {**a_log(data=b"\0"), "topics": None},
    ],
)
def test_a_malformed_log_of_nobody_fails_all(log: Any) -> None:
    with pytest.raises(Transient):
        decode_order_fills_or_failures([a_log(data=v2_data()), log])


@pytest.mark.parametrize("logs", [None, {}, "0x", 7])
def test_something_that_is_no_list_of_logs_is_a_transient_error(logs: Any) -> None:
    with pytest.raises(Transient):
        decode_order_fills_or_failures(logs)


def test_a_receipt_with_amounts_that_nobody_has_is_malformed() -> None:
    log = a_log(data=v2_data(making=10**18 + 1))

    assert len(decode_order_fills([log])) == 1
    with pytest.raises(MalformedLog, match="impossible amounts"):
        decode_receipt_fills([log], exchanges=[EXCHANGE_V2])


@given(
    side=st.sampled_from([0, 1]),
    amounts=st.tuples(*[st.integers(0, 2**256 - 1)] * 4),
    wallets=st.tuples(*[st.binary(min_size=20, max_size=20)] * 2),
)
def test_every_fill_that_the_exchange_can_emit_is_decoded(
    side: int, amounts: tuple[int, ...], wallets: tuple[bytes, bytes]
) -> None:
    maker, taker = ("0x" + wallet.hex() for wallet in wallets)

    fill = decode_order_filled(a_log(maker=maker, taker=taker, data=v2_data(side, *amounts)))

    assert (fill.token_id, fill.maker_amount, fill.taker_amount, fill.fee) == amounts
    assert (fill.maker.lower(), fill.taker.lower(), fill.side) == (
        maker,
        taker,
        Side.SELL if side else Side.BUY,
    )


def test_the_topic_filter_matches_the_wallets_own_orders_only() -> None:
    events, order, makers = maker_topics([LEADER, OTHER])

    assert events == [ORDER_FILLED, ORDER_FILLED_V1]
    assert order is None
    assert makers == [a_topic(OTHER), a_topic(LEADER)]
