"""API keys in PostgreSQL: encrypted, replaced, and of no use to who has the database alone."""

from collections.abc import Sequence
from datetime import datetime

import pytest
from eth_account import Account
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.api_keys import PostgresApiKeys
from shared.db.engine import autocommit, fetch_rows
from shared.db.rows import Row
from shared.polymarket.signing import Credentials, Wallet

pytestmark = pytest.mark.integration


def a_wallet(number: int) -> Wallet:
    key = "0x" + f"{number:02x}" * 32
    return Wallet(proxy=Account.from_key(key).address, private_key=key)


WALLETS = {wallet.proxy: wallet for wallet in map(a_wallet, range(1, 51))}
FIRST, SECOND, *_ = WALLETS


def issued(proxy: str, number: int = 1) -> Credentials:
    return Credentials(
        address=WALLETS[proxy].signer,
        key=f"key-{number}-of-{proxy}",
        secret=f"secret-{number}-of-{proxy}",
        passphrase=f"phrase-{number}-of-{proxy}",
    )


KEYS = {proxy: issued(proxy) for proxy in WALLETS}


async def fetch_stored(engine: AsyncEngine) -> Sequence[Row]:
    async with autocommit(engine) as connection:
        return await fetch_rows(connection, "select * from executor.api_keys order by proxy")


async def test_stored_keys_come_back_and_those_of_unknown_wallets_do_not(
    engine: AsyncEngine,
) -> None:
    api_keys = PostgresApiKeys(engine)
    await api_keys.save({proxy: KEYS[proxy] for proxy in (FIRST, SECOND)}, WALLETS)

    assert await api_keys.load(WALLETS) == {proxy: KEYS[proxy] for proxy in (FIRST, SECOND)}
    assert await api_keys.load({FIRST: WALLETS[FIRST]}) == {FIRST: KEYS[FIRST]}
    assert await api_keys.load({}) == {}


async def test_no_row_contains_a_secret(engine: AsyncEngine) -> None:
    await PostgresApiKeys(engine).save(KEYS, WALLETS)

    rows = await fetch_stored(engine)

    assert len(rows) == len(WALLETS)
    for row in rows:
        credentials = KEYS[row.proxy]
        for secret in (credentials.key, credentials.secret, credentials.passphrase):
            assert secret.encode() not in row.ciphertext


async def test_a_newer_key_replaces_the_stored_one(engine: AsyncEngine) -> None:
    api_keys = PostgresApiKeys(engine)
    await api_keys.save({FIRST: issued(FIRST), SECOND: issued(SECOND)}, WALLETS)
    before: dict[str, datetime] = {row.proxy: row.updated_at for row in await fetch_stored(engine)}

    await api_keys.save({FIRST: issued(FIRST, 2)}, WALLETS)

    assert await api_keys.load(WALLETS) == {FIRST: issued(FIRST, 2), SECOND: issued(SECOND)}
    after = {row.proxy: row for row in await fetch_stored(engine)}
    assert after[FIRST].updated_at > before[FIRST] >= after[FIRST].created_at
    assert after[SECOND].updated_at == before[SECOND]


async def test_two_instances_may_store_the_same_keys(engine: AsyncEngine) -> None:
    for _ in range(2):
        await PostgresApiKeys(engine).save(KEYS, WALLETS)

    assert await PostgresApiKeys(engine).load(WALLETS) == KEYS


async def test_a_row_that_was_swapped_or_changed_counts_as_missing(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    api_keys = PostgresApiKeys(engine)
    await api_keys.save({FIRST: KEYS[FIRST], SECOND: KEYS[SECOND]}, WALLETS)
    async with autocommit(engine) as connection:
        await fetch_rows(
            connection,
            "update executor.api_keys a set ciphertext = b.ciphertext "
            "from executor.api_keys b where b.proxy <> a.proxy and a.proxy = :proxy "
            "returning a.proxy",
            proxy=FIRST,
        )

    assert await api_keys.load(WALLETS) == {SECOND: KEYS[SECOND]}
    assert f"the stored API key of proxy {FIRST} cannot be decrypted" in caplog.text
    assert "secret-1" not in caplog.text


async def test_a_wallet_whose_private_key_was_replaced_reads_nothing_of_the_old_one(
    engine: AsyncEngine,
) -> None:
    api_keys = PostgresApiKeys(engine)
    await api_keys.save({FIRST: KEYS[FIRST]}, WALLETS)

    assert await api_keys.load({FIRST: WALLETS[SECOND]}) == {}
    assert await api_keys.load(WALLETS) == {FIRST: KEYS[FIRST]}
