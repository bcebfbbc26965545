"""The followers and leaders of a benchmark: wallets with real keys, and frames of leader trades."""

import base64
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import orjson
from eth_account import Account
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.api_keys import PostgresApiKeys
from shared.db.controls import save_follows
from shared.domain.follows import Follow
from shared.domain.ids import follow_id, intent_id, trade_id
from shared.domain.money import MICROS, Side
from shared.messages.intents import CopyIntended, Intent
from shared.polymarket.signing import Credentials, Wallet, derive_salt

COPY_USDC = 5_000_000
PRICE = Decimal("0.52")
UNLIMITED_USDC = 10**15
SHARED_LEADERS = 5
"""Leaders whom the same wallets follow. They trade in turn, because one leader's trades are handled
one after another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Who copies a load's trades: so many followers each, out of so many wallets."""

    followers: int
    wallets: int = 0
    """More than ``followers``: each leader has followers of his own. 0: all have the same."""

    @property
    def leaders(self) -> int:
        return max(1, self.wallets // self.followers) if self.wallets else SHARED_LEADERS

    @property
    def size(self) -> int:
        """The number of wallets."""
        return self.wallets or self.followers

    def select_wallets(self, leader: int, proxies: Sequence[str]) -> Sequence[str]:
        """Those of the proxies that follow the leader with this number."""
        first = leader * self.followers if self.wallets else 0
        return proxies[first : first + self.followers]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    address: str
    token_id: str
    follows: tuple[str, ...]
    """Follow ids, from which the intents of a trade can be derived in advance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A leader's trade, and the salts of the orders that it must cause."""

    build_frame: Callable[[datetime], str]
    """The frame of the activity feed, of a trade that is made at this time."""
    salts: tuple[int, ...]


def build_wallets(count: int) -> list[tuple[str, str]]:
    """Addresses and private keys of EOAs, the same in every run. The keys are public: these wallets
    own nothing.
    """
    keys = [f"0x{number:064x}" for number in range(1, count + 1)]
    return [(Account.from_key(key).address, key) for key in keys]


def build_leaders(
    audiences: Sequence[Audience], proxies: Sequence[str]
) -> dict[Audience, list[Leader]]:
    """The leaders of each audience, who are followed by these wallets."""
    return {
        audience: [
            _build_leader(10_000 * place + number, audience.select_wallets(number, proxies))
            for number in range(audience.leaders)
        ]
        for place, audience in enumerate(audiences)
    }


def _build_leader(number: int, proxies: Sequence[str]) -> Leader:
    address = Account.from_key(f"0x{10_000_000 + number:064x}").address
    return Leader(
        address=address,
        token_id=str(10**76 + number),
        follows=tuple(follow_id(leader=address, proxy=proxy) for proxy in proxies),
    )


async def set_up(
    engine: AsyncEngine, audiences: Sequence[Audience], keys_file: Path
) -> dict[Audience, list[Leader]]:
    """Write the executor's keys, and save the follows and the wallets' API keys: the venue issues
    an API key once in a wallet's life, so that it is no part of what a load measures.
    """
    owned_wallets = build_wallets(max(audience.size for audience in audiences))
    _write_keys(keys_file, owned_wallets)
    await _save_api_keys(engine, owned_wallets)
    proxies = [proxy for proxy, _ in owned_wallets]
    leaders_by_audience = build_leaders(audiences, proxies)
    for audience, group in leaders_by_audience.items():
        for number, leader in enumerate(group):
            followed_by = audience.select_wallets(number, proxies)
            follows = [
                _build_follow(leader, proxy, id_)
                for proxy, id_ in zip(followed_by, leader.follows, strict=True)
            ]
            await save_follows(engine, follows, by="bench", change=f"{len(follows)} followers")
    return leaders_by_audience


def _write_keys(file: Path, owned: Sequence[tuple[str, str]]) -> None:
    file.touch(mode=0o600)
    file.write_text(json.dumps([{"proxy": proxy, "private_key": key} for proxy, key in owned]))


async def _save_api_keys(engine: AsyncEngine, owned: Sequence[tuple[str, str]]) -> None:
    wallets = {proxy: Wallet(proxy=proxy, private_key=key) for proxy, key in owned}
    keys = {proxy: build_credentials(wallet.signer) for proxy, wallet in wallets.items()}
    await PostgresApiKeys(engine).save(keys, wallets)


def build_credentials(signer: str) -> Credentials:
    """The API key that the benchmark's venue issues to the signer."""
    return Credentials(
        address=signer,
        key="00000000-0000-4000-8000-000000000000",
        secret=base64.urlsafe_b64encode(signer.encode()).decode(),
        passphrase="bench",  # noqa: S106 - of nothing
    )


def _build_follow(leader: Leader, proxy: str, id_: str) -> Follow:
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
        daily_cap_usdc=UNLIMITED_USDC,
    )


def build_copy_intended(
    leader: Leader, follower: int, proxy: str, number: int, now: datetime
) -> CopyIntended:
    """The intent of the follower with this number to copy the leader's trade ``number``, as ingest
    publishes it.
    """
    follow, transaction_hash = leader.follows[follower], f"0x{2**128 + number:064x}"
    trade = trade_id(
        transaction_hash=transaction_hash,
        leader=leader.address,
        token_id=leader.token_id,
        side=Side.BUY,
    )
    id_ = intent_id(trade=trade, from_shares=0, follow_id=follow, intended_at=now)
    intent = Intent(
        intent_id=id_,
        proxy=proxy,
        leader=leader.address,
        follow_id=follow,
        controls_version=0,
        transaction_hash=transaction_hash,
        token_id=leader.token_id,
        side=Side.BUY,
        leader_price=PRICE,
        leader_shares=1_000 * MICROS,
        usdc=COPY_USDC,
        shares=int(COPY_USDC / PRICE),
        filled_at=now,
        seen_at=now,
        intended_at=now,
        title="Who wins?",
        outcome="Yes",
    )
    return CopyIntended(message_id=id_, occurred_at=now, intent=intent)


def generate_trades(
    group: Sequence[Leader], *, first_number: int, now: Callable[[], datetime]
) -> Iterator[Trade]:
    """Endless trades of these leaders in turn, each in a transaction of its own. The copies of each
    are expected on the day (UTC) on which it is generated.
    """
    for number in itertools.count(first_number):
        yield _build_trade(group[number % len(group)], number, intended_at=now())


def _build_trade(leader: Leader, number: int, *, intended_at: datetime) -> Trade:
    """A trade of a unique size: the second of two equal unconfirmed trades would be held back."""
    transaction_hash = f"0x{number:064x}"
    trade = trade_id(
        transaction_hash=transaction_hash,
        leader=leader.address,
        token_id=leader.token_id,
        side=Side.BUY,
    )
    salts = tuple(
        derive_salt(
            intent_id(trade=trade, from_shares=0, follow_id=follow, intended_at=intended_at)
        )
        for follow in leader.follows
    )
    return Trade(
        build_frame=lambda at: _build_frame(
            leader, transaction_hash, size=1000 + number % 1_000_000, seconds=int(at.timestamp())
        ),
        salts=salts,
    )


def _build_frame(leader: Leader, transaction_hash: str, *, size: int, seconds: int) -> str:
    payload = {
        "asset": leader.token_id,
        "conditionId": f"0x{int(leader.token_id):064x}",
        "eventSlug": "who-wins",
        "outcome": "Yes",
        "outcomeIndex": 0,
        "price": float(PRICE),
        "proxyWallet": leader.address,
        "side": "BUY",
        "size": size,
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
    return orjson.dumps(envelope).decode()
