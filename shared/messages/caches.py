"""What an instance fetched and shares with the other instances.

Each entry contains the time at which it was fetched; its reader decides whether it is new enough.
"""

from typing import ClassVar

from pydantic import AwareDatetime

from shared.messages.base import Address, Message, Micros, Price, ProxyMessage
from shared.messages.intents import PriceLevel


class BookSeen(Message):
    """A token's order book, as one instance has it."""

    topic: ClassVar[str] = "quotes"
    token_id: str
    bids: tuple[PriceLevel, ...]
    asks: tuple[PriceLevel, ...]
    tick_size: Price | None = None
    """None: the venue did not say, or in messages from before it was kept."""
    tick_seen_at: AwareDatetime | None = None
    """When a whole book named the tick: changes of a book do not."""
    fetched_at: AwareDatetime

    def key(self) -> bytes:
        return self.token_id.encode()


class BalancesFetched(ProxyMessage):
    """A proxy's funds on the chain at one block, in micro-USDC and micro-shares."""

    topic: ClassVar[str] = "balances"
    usdc: Micros
    allowance_by_spender: dict[Address, Micros]
    """The pUSD that each exchange may transfer."""
    shares_by_token: dict[str, Micros]
    """Only the requested tokens; a token that is missing is unknown, not zero."""
    shares_approved_by_spender: dict[Address, bool]
    block_number: int
    fetched_at: AwareDatetime
