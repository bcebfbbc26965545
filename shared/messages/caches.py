"""What instances tell one another of what they fetched. Freshness, never truth: each entry carries
its own time.
"""

from typing import ClassVar

from pydantic import AwareDatetime

from shared.messages.base import Address, Message, Micros, ProxyMessage
from shared.messages.intents import PriceLevel


class BookSeen(Message):
    """A token's order book as an instance had it."""

    topic: ClassVar[str] = "quotes"
    token_id: str
    bids: tuple[PriceLevel, ...]
    asks: tuple[PriceLevel, ...]
    fetched_at: AwareDatetime

    def key(self) -> bytes:
        return self.token_id.encode()


class BalancesFetched(ProxyMessage):
    """A proxy's means as the chain had them at one block. Micro-USDC and micro-shares."""

    topic: ClassVar[str] = "balances"
    usdc: Micros
    allowance_by_spender: dict[Address, Micros]
    """pUSD that each exchange may take."""
    shares_by_token: dict[str, Micros]
    """Only the tokens that were asked for; a token that is missing is unknown, not zero."""
    shares_approved_by_spender: dict[Address, bool]
    block_number: int
    fetched_at: AwareDatetime
