"""The control endpoint, which no real venue has: accounts, leader trades, faults, ticks, resolutions, scenarios."""
