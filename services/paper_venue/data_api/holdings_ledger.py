"""One wallet's holding of one outcome: shares, cost, fees and profit, in integer base units."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Holding:
    """One wallet's position in one token, as the chain's transactions add up. Shares in
    micro-shares, money in micro-USDC, times in epoch seconds.

    Shares from a plain transfer are held but have no price: they add neither cost nor profit (as in
    Polymarket's own profit-and-loss index).
    """

    wallet: str
    token_id: str
    number: int
    """The position's number among all of the venue, in the order in which they began."""
    first_at: int
    last_at: int
    held: int = 0
    """The balance at the ERC-1155 contract."""
    priced: int = 0
    """The part of ``held`` that was paid for."""
    cost: int = 0
    """The cost of the priced part, without fees."""
    fees: int = 0
    """Taker fees on the priced part."""
    bought: int = 0
    """All shares ever paid for."""
    spent: int = 0
    """All money ever paid for shares, without fees."""
    realized: int = 0
    """Proceeds of sales less their cost, less all taker fees."""

    def buy(self, shares: int, usdc: int, fee: int) -> None:
        self.priced += shares
        self.cost += usdc
        self.fees += fee
        self.bought += shares
        self.spent += usdc
        self.realized -= fee

    def sell(self, shares: int, usdc: int, fee: int) -> None:
        """Remove shares at the average cost of the priced ones. Shares beyond those that were paid
        for do not count.
        """
        sold = min(shares, self.priced)
        if sold:
            cost, fees = self.cost * sold // self.priced, self.fees * sold // self.priced
            self.priced -= sold
            self.cost -= cost
            self.fees -= fees
            self.realized += usdc * sold // shares - cost
        self.realized -= fee
