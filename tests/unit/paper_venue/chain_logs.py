"""Logs as the local chain's node returns them."""

from typing import Any

from eth_abi.abi import encode

from services.paper_venue.data_api.chain_events import (
    CONDITION_RESOLUTION,
    PAYOUT_REDEMPTION,
    TRANSFER,
    TRANSFER_SINGLE,
    ZERO_ADDRESS,
)
from shared.chain.addresses import CONDITIONAL_TOKENS, EXCHANGE_V2, PUSD
from shared.chain.logs import ORDER_FILLED
from tests.unit.paper_venue.builders import MARKET, NO, YES

LEADER = "0x1111111111111111111111111111111111111111"
MAKER = "0x2222222222222222222222222222222222222222"
OTHER_MAKER = "0x3333333333333333333333333333333333333333"
ADAPTER = "0x4444444444444444444444444444444444444444"
BLOCK_TIME = 1_790_000_000

Log = dict[str, Any]


def filled(
    maker: str,
    *,
    shares: int,
    usdc: int,
    side: str = "BUY",
    token: str = YES,
    taker: str = EXCHANGE_V2,
    fee: int = 0,
    order: int = 1,
) -> Log:
    """An order's fill; of the taker's own order unless another ``taker`` is named."""
    making, taking = (usdc, shares) if side == "BUY" else (shares, usdc)
    words = (int(side == "SELL"), int(token), making, taking, fee, 0, 0)
    topics = [ORDER_FILLED, f"0x{order:064x}", _topic(maker), _topic(taker)]
    return {
        "address": EXCHANGE_V2,
        "topics": topics,
        "data": "0x" + encode(["uint256"] * 7, words).hex(),
    }


def moved(sender: str, receiver: str, shares: int, *, token: str = YES) -> Log:
    topics = [TRANSFER_SINGLE, _topic(ADAPTER), _topic(sender), _topic(receiver)]
    return {
        "address": CONDITIONAL_TOKENS,
        "topics": topics,
        "data": "0x" + encode(["uint256"] * 2, (int(token), shares)).hex(),
    }


def paid(sender: str, receiver: str, usdc: int) -> Log:
    return {
        "address": PUSD,
        "topics": [TRANSFER, _topic(sender), _topic(receiver)],
        "data": f"0x{usdc:064x}",
    }


def split(wallet: str, shares: int) -> list[Log]:
    return [
        paid(wallet, CONDITIONAL_TOKENS, shares),
        *(moved(ZERO_ADDRESS, wallet, shares, token=token) for token in (YES, NO)),
    ]


def merged(wallet: str, shares: int) -> list[Log]:
    return [
        *(moved(wallet, ZERO_ADDRESS, shares, token=token) for token in (YES, NO)),
        paid(CONDITIONAL_TOKENS, wallet, shares),
    ]


def bought(wallet: str, *, shares: int, usdc: int, fee: int = 0, seller: str = MAKER) -> list[Log]:
    """A match of two orders: shares change hands, then come the fills of the maker's order and of
    the taker's.
    """
    return [
        moved(seller, wallet, shares),
        filled(seller, shares=shares, usdc=usdc, side="SELL", taker=wallet, order=2),
        filled(wallet, shares=shares, usdc=usdc, fee=fee),
    ]


def sold(wallet: str, *, shares: int, usdc: int, fee: int = 0, buyer: str = MAKER) -> list[Log]:
    return [
        moved(wallet, buyer, shares),
        filled(buyer, shares=shares, usdc=usdc, taker=wallet, order=2),
        filled(wallet, shares=shares, usdc=usdc, side="SELL", fee=fee),
    ]


def resolved(yes: int, no: int) -> Log:
    data = encode(["uint256", "uint256[]"], (2, (yes, no)))
    return {
        "address": CONDITIONAL_TOKENS,
        "topics": [CONDITION_RESOLUTION, MARKET.condition_id],
        "data": "0x" + data.hex(),
    }


def redeemed(wallet: str, *, yes: int, no: int, payout: int) -> list[Log]:
    event = encode(
        ["bytes32", "uint256[]", "uint256"],
        (bytes.fromhex(MARKET.condition_id[2:]), (1, 2), payout),
    )
    burnt = [
        moved(wallet, ZERO_ADDRESS, shares, token=token)
        for token, shares in ((YES, yes), (NO, no))
        if shares
    ]
    return [
        *burnt,
        {
            "address": CONDITIONAL_TOKENS,
            "topics": [PAYOUT_REDEMPTION, _topic(wallet)],
            "data": "0x" + event.hex(),
        },
    ]


def mined(*transactions: list[Log], first_block: int = 1) -> list[Log]:
    """Each transaction in a block of its own, a second apart."""
    return [
        log
        | {
            "transactionHash": f"0x{number:064x}",
            "blockNumber": hex(number),
            "blockHash": f"0x{number:064x}",
            "blockTimestamp": hex(BLOCK_TIME + number),
            "logIndex": hex(index),
            "removed": False,
        }
        for number, logs in enumerate(transactions, start=first_block)
        for index, log in enumerate(logs)
    ]


def _topic(address: str) -> str:
    return "0x" + address[2:].lower().rjust(64, "0")
