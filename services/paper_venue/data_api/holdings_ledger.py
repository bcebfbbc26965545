"""What does a wallet hold of one outcome, what did it pay, and what has it made of it? Integers of
base units throughout.
"""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Holding:
    """One wallet's position in one token, folded from the chain. Shares in micro-shares, money in
    micro-USDC, times in seconds.

    Shares that came by a plain transfer are held, but have no price: they neither cost nor earn
    anything here (as in Polymarket's own profit-and-loss index).
    """

    wallet: str
    token_id: str
    number: int
    """Counts every position of the venue in the order in which they began."""
    first_at: int
    last_at: int
    held: int = 0
    """What the ERC-1155 contract says."""
    priced: int = 0
    """The part of it that was paid for."""
    cost: int = 0
    """What that part cost, without fees."""
    fees: int = 0
    """Taker fees on that part."""
    bought: int = 0
    """Everything ever paid for."""
    spent: int = 0
    realized: int = 0
    """Proceeds less their cost, and less the taker fees of both ways."""

    def buy(self, shares: int, usdc: int, fee: int) -> None:
        self.priced += shares
        self.cost += usdc
        self.fees += fee
        self.bought += shares
        self.spent += usdc
        self.realized -= fee

    def sell(self, shares: int, usdc: int, fee: int) -> None:
        """Give up shares at the average cost of all that are held. Of more than was paid for, only
        that part counts.
        """
        sold = min(shares, self.priced)
        if sold:
            cost, fees = self.cost * sold // self.priced, self.fees * sold // self.priced
            self.priced -= sold
            self.cost -= cost
            self.fees -= fees
            self.realized += usdc * sold // shares - cost
        self.realized -= fee
