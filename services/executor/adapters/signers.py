"""Holds the followers' keys and signs their orders."""

import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from eth_utils.address import is_address, to_checksum_address

from services.executor.decisions import Order
from shared.caching.single_flight import SingleFlight
from shared.clock import utc_now
from shared.domain.errors import InvalidMessage, InvalidSettings, Transient
from shared.messages.intents import IntentApproved
from shared.messages.orders import OrderState
from shared.observe import logs
from shared.polymarket.clob import Clob
from shared.polymarket.signing import Credentials, OrderTerms, Wallet, derive_salt

logger = logging.getLogger(__name__)

RENEWAL_INTERVAL = timedelta(minutes=1)
"""Between two renewals of a wallet's API key: a key that was replaced is known after one, and a
wallet that the venue does not let in is not asked for again with each request."""


class Keyring:
    """The followers' wallets, and their API keys at the venue. A key is created or derived once,
    and again where the venue does not accept it any more.
    """

    def __init__(
        self,
        wallets: Mapping[str, Wallet],
        clob: Clob,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._wallets, self._clob, self._now = wallets, clob, now
        self._credentials: dict[str, Credentials] = {}
        self._renewed_at: dict[str, datetime] = {}
        """By proxy: when its key was last asked for again."""
        self._fetch_once = SingleFlight(self._fetch_from_venue)

    def wallet(self, proxy: str) -> Wallet:
        """Raises: InvalidMessage where no key was given for the proxy."""
        try:
            return self._wallets[proxy]
        except KeyError:
            raise InvalidMessage(
                f"there is no key for proxy {proxy}: add it to EXECUTOR_KEYS_FILE"
            ) from None

    async def fetch_credentials(self, proxy: str) -> Credentials:
        """Raises: InvalidMessage, Transient."""
        known = self._credentials.get(proxy)
        return known if known is not None else await self._fetch_once(proxy)

    async def renew_credentials(self, proxy: str, *, refused: Credentials) -> Credentials | None:
        """The wallet's API key after the venue refused this one: keys end, or are replaced. None:
        there is no other, or it was asked for within ``RENEWAL_INTERVAL``.
        """
        known = self._credentials.get(proxy)
        if known is not None and known is not refused:  # another request has renewed it meanwhile
            return known
        if not self._fetch_once.is_running(proxy):
            renewed_at = self._renewed_at.get(proxy)
            if renewed_at is not None and self._now() - renewed_at < RENEWAL_INTERVAL:
                return None
            self._renewed_at[proxy] = self._now()
            logger.warning("the venue refuses the API key of proxy %s, it is derived anew", proxy)
        try:
            return await self._fetch_once(proxy)
        except (Transient, InvalidMessage) as error:
            logger.error("the API key of proxy %s could not be derived anew: %s", proxy, error)
            return None

    async def _fetch_from_venue(self, proxy: str) -> Credentials:
        credentials = await self._clob.fetch_credentials(self.wallet(proxy))
        logs.register_secret(credentials.secret)
        logs.register_secret(credentials.passphrase)
        self._credentials[proxy] = credentials
        return credentials


def load_wallets(keys_file: Path) -> Mapping[str, Wallet]:
    """The wallets of the file, by proxy.

    Raises: InvalidSettings, with the number of the entry that is wrong and never its key.
    """
    try:
        entries = json.loads(keys_file.read_text())
    except (OSError, ValueError) as error:
        raise InvalidSettings(
            f"EXECUTOR_KEYS_FILE {keys_file} cannot be read as JSON: {type(error).__name__}"
        ) from None
    if not isinstance(entries, list):
        raise InvalidSettings(
            f"EXECUTOR_KEYS_FILE {keys_file} must be a list of entries with proxy and private_key"
        )
    wallets: dict[str, Wallet] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not {"proxy", "private_key"} <= entry.keys():
            raise InvalidSettings(
                f"EXECUTOR_KEYS_FILE {keys_file}: entry {number} needs proxy and private_key"
            )
        logs.register_secret(str(entry["private_key"]))
        proxy = str(entry["proxy"])
        if not is_address(proxy.lower()):
            raise InvalidSettings(
                f"EXECUTOR_KEYS_FILE {keys_file}: the proxy of entry {number} is not an address"
            )
        wallet = Wallet(proxy=to_checksum_address(proxy), private_key=str(entry["private_key"]))
        wallets[wallet.proxy] = wallet
    return wallets


class SdkSigners:
    """Signs with the official SDK's encoding. Salt and timestamp come from the approval, so that
    the same intent always gives the same bytes.
    """

    def __init__(self, keyring: Keyring, *, now: Callable[[], datetime]) -> None:
        self._keyring, self._now = keyring, now

    async def sign(self, approved: IntentApproved) -> Order:
        intent = approved.intent
        wallet = self._keyring.wallet(intent.proxy)
        credentials = await self._keyring.fetch_credentials(intent.proxy)
        signed = wallet.sign(build_terms(approved), owner=credentials.key)
        return Order(
            intent_id=intent.intent_id,
            proxy=intent.proxy,
            leader=intent.leader,
            order_hash=signed.order_hash,
            body=signed.body,
            side=intent.side,
            token_id=intent.token_id,
            state=OrderState.SIGNED,
            fee_rate=approved.quote.fee_rate,
            expires_at=approved.expires_at,
            signed_at=self._now(),
        )


def build_terms(approved: IntentApproved) -> OrderTerms:
    intent, quote = approved.intent, approved.quote
    return OrderTerms(
        token_id=intent.token_id,
        side=intent.side,
        order_type=approved.order_type,
        usdc=approved.usdc,
        shares=approved.shares,
        limit_price=approved.limit_price,
        tick_size=quote.tick_size,
        neg_risk=quote.neg_risk,
        salt=derive_salt(intent.intent_id),
        timestamp_ms=int(approved.occurred_at.timestamp() * 1000),
    )
