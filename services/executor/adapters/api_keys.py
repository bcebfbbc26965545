"""The followers' API keys at the venue, encrypted in PostgreSQL.

The encryption key is derived from the wallet's own private key: there is no further secret to keep,
and a copy of the database gives nobody an API key. A row that is of another wallet, or was changed,
fails its authentication and counts as missing: the API key is derived from the venue anew. Nothing
is fenced by a lease: whichever instance writes last, the venue decides which key it accepts.
"""

import logging
from collections.abc import Mapping

import orjson
from Crypto.Cipher import AES
from Crypto.Random import get_random_bytes
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import tables
from shared.db.engine import autocommit, fetch_rows
from shared.db.sql import Batch
from shared.polymarket.signing import Credentials, Wallet

logger = logging.getLogger(__name__)

CONTEXT = b"slipstream executor.api_keys 1"
"""Of the derived key. It never changes, else no stored row can be opened."""
FORMAT = b"\x01"
"""Before nonce, tag and ciphertext."""
NONCE_BYTES, TAG_BYTES = 12, 16

ROWS = Batch.from_table(tables.api_keys, "proxy", "ciphertext")
LOAD = """
select proxy, ciphertext from executor.api_keys where proxy = any(cast(:proxies as text[]))
"""
SAVE = f"""
insert into executor.api_keys as stored ({ROWS.names})
select {ROWS.prefixed("g")} from {ROWS.unnest("g")} order by g.proxy
on conflict (proxy) do update
set ciphertext = excluded.ciphertext, updated_at = clock_timestamp()
returning stored.proxy
"""


class PostgresApiKeys:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def load(self, wallets: Mapping[str, Wallet]) -> dict[str, Credentials]:
        """The API keys of these wallets that are stored and can be decrypted, by proxy.

        Raises: Transient.
        """
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(connection, LOAD, proxies=list(wallets))
        opened: dict[str, Credentials] = {}
        for row in rows:
            credentials = decrypt(row.ciphertext, wallets[row.proxy])
            if credentials is None:
                logger.warning(
                    "the stored API key of proxy %s cannot be decrypted with the wallet's private "
                    "key, it is derived anew",
                    row.proxy,
                )
            else:
                opened[row.proxy] = credentials
        return opened

    async def save(self, keys: Mapping[str, Credentials], wallets: Mapping[str, Wallet]) -> None:
        """Store the API keys, by proxy, in place of those that are stored. Raises: Transient."""
        rows = [
            {"proxy": proxy, "ciphertext": encrypt(credentials, wallets[proxy])}
            for proxy, credentials in keys.items()
        ]
        async with autocommit(self._engine) as connection:
            await fetch_rows(connection, SAVE, **ROWS.parameters(rows))


def encrypt(credentials: Credentials, wallet: Wallet) -> bytes:
    """The wallet's API key, to be read by the holder of the wallet's private key alone."""
    nonce = get_random_bytes(NONCE_BYTES)
    cipher = AES.new(wallet.derive_secret(CONTEXT), AES.MODE_GCM, nonce=nonce)
    cipher.update(wallet.proxy.encode())
    plain = orjson.dumps([credentials.key, credentials.secret, credentials.passphrase])
    ciphertext, tag = cipher.encrypt_and_digest(plain)
    return FORMAT + nonce + tag + ciphertext


def decrypt(stored: bytes, wallet: Wallet) -> Credentials | None:
    """The wallet's API key; None where it was not encrypted for this wallet, or was changed."""
    nonce, tag, ciphertext = _split(stored)
    if stored[: len(FORMAT)] != FORMAT or len(tag) != TAG_BYTES:
        return None
    cipher = AES.new(wallet.derive_secret(CONTEXT), AES.MODE_GCM, nonce=nonce)
    cipher.update(wallet.proxy.encode())
    try:
        key, secret, passphrase = orjson.loads(cipher.decrypt_and_verify(ciphertext, tag))
    except ValueError:
        return None
    return Credentials(address=wallet.signer, key=key, secret=secret, passphrase=passphrase)


def _split(stored: bytes) -> tuple[bytes, bytes, bytes]:
    """Nonce, tag and ciphertext."""
    start = len(FORMAT)
    middle, end = start + NONCE_BYTES, start + NONCE_BYTES + TAG_BYTES
    return stored[start:middle], stored[middle:end], stored[end:]
