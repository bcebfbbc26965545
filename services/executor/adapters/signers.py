"""Reads the followers' private keys and signs their orders."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from eth_utils.address import is_address, to_checksum_address

from services.executor.adapters.keyring import Keyring
from services.executor.decisions import Order
from shared.domain.errors import InvalidSettings
from shared.messages.intents import IntentApproved
from shared.messages.orders import OrderState
from shared.observe import logs
from shared.polymarket.signing import OrderTerms, Wallet, derive_salt


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
        proxy = approved.intent.proxy
        self._keyring.wallet(proxy)
        while (order := self.sign_at_once(approved)) is None:
            await self._keyring.fetch_credentials(proxy)
        return order

    def sign_at_once(self, approved: IntentApproved) -> Order | None:
        intent = approved.intent
        wallet = self._keyring.wallet(intent.proxy)
        credentials = self._keyring.find_credentials(intent.proxy)
        if credentials is None:
            return None
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
