"""Who follows whom in a benchmark: wallets with real keys, leaders by the number of their
followers, and the frames of their trades.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import orjson
from eth_account import Account
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.controls import save_follows
from shared.domain.follows import Follow
from shared.domain.ids import follow_id, intent_id, trade_id
from shared.domain.money import Side
from shared.polymarket.signing import derive_salt

COPY_USDC = 5_000_000
WITHOUT_LIMIT = 10**15
LEADERS_OF_A_SIZE = 5
"""Leaders of each number of followers, who trade in turn, as one leader's trades are handled one
after another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    address: str
    token_id: str
    follows: tuple[str, ...]
    """Ids, by which the intents of a trade are known beforehand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A frame of the activity feed, and the salts of the orders that must come of it."""

    frame: str
    salts: tuple[int, ...]


def wallets(count: int) -> list[tuple[str, str]]:
    """Addresses and private keys of EOAs, the same each time. They own nothing anywhere: these keys
    are public.
    """
    keys = [f"0x{number:064x}" for number in range(1, count + 1)]
    return [(Account.from_key(key).address, key) for key in keys]


def leaders(sizes: Sequence[int], proxies: Sequence[str]) -> dict[int, list[Leader]]:
    """For each number of followers some leaders, whom the first so many wallets follow."""
    return {
        size: [_leader(size, number, proxies[:size]) for number in range(LEADERS_OF_A_SIZE)]
        for size in sizes
    }


def _leader(size: int, number: int, proxies: Sequence[str]) -> Leader:
    address = Account.from_key(f"0x{10_000_000 + size * 100 + number:064x}").address
    token_id = str(10**76 + size * 100 + number)
    return Leader(
        address=address,
        token_id=token_id,
        follows=tuple(follow_id(leader=address, proxy=proxy) for proxy in proxies),
    )


async def set_up(
    engine: AsyncEngine, sizes: Sequence[int], keys_file: Path
) -> dict[int, list[Leader]]:
    """Write the keys for the executor and the follows for everybody."""
    owned = wallets(max(sizes))
    _write_keys(keys_file, owned)
    proxies = [proxy for proxy, _ in owned]
    chosen = leaders(sizes, proxies)
    for group in chosen.values():
        for leader in group:
            follows = [
                _follow(leader, proxy, id_)
                for proxy, id_ in zip(proxies, leader.follows, strict=False)
            ]
            await save_follows(engine, follows, by="bench", change=f"{len(follows)} followers")
    return chosen


def _write_keys(file: Path, owned: Sequence[tuple[str, str]]) -> None:
    file.touch(mode=0o600)
    file.write_text(json.dumps([{"proxy": proxy, "private_key": key} for proxy, key in owned]))


def _follow(leader: Leader, proxy: str, id_: str) -> Follow:
    return Follow(
        follow_id=id_,
        version=0,
        leader=leader.address,
        proxy=proxy,
        percent=None,
        fixed_usdc=COPY_USDC,
        min_usdc=0,
        max_usdc=COPY_USDC,
        max_slippage_bps=Decimal(1000),
        daily_cap_usdc=WITHOUT_LIMIT,
    )


def trades(group: Sequence[Leader], *, first_number: int, now: datetime) -> Iterator[Trade]:
    """Trades of these leaders in turn, endlessly; each in a transaction of its own."""
    number = first_number
    while True:
        yield _trade(group[number % len(group)], number, int(now.timestamp()))
        number += 1


def _trade(leader: Leader, number: int, seconds: int) -> Trade:
    """Of a size of its own: of two equal trades that no block tells, the second would wait."""
    transaction_hash = f"0x{number:064x}"
    payload = {
        "asset": leader.token_id,
        "conditionId": f"0x{int(leader.token_id):064x}",
        "eventSlug": "who-wins",
        "outcome": "Yes",
        "outcomeIndex": 0,
        "price": 0.52,
        "proxyWallet": leader.address,
        "side": "BUY",
        "size": 1000 + number % 1_000_000,
        "slug": "who-wins",
        "timestamp": seconds,
        "title": "Who wins?",
        "transactionHash": transaction_hash,
    }
    envelope = {
        "connection_id": "bench",
        "payload": payload,
        "timestamp": seconds * 1000,
        "topic": "activity",
        "type": "trades",
    }
    trade = trade_id(
        transaction_hash=transaction_hash,
        leader=leader.address,
        token_id=leader.token_id,
        side=Side.BUY,
    )
    salts = tuple(
        derive_salt(intent_id(trade=trade, from_shares=0, follow_id=follow))
        for follow in leader.follows
    )
    return Trade(frame=orjson.dumps(envelope).decode(), salts=salts)
