"""The simulated world: markets, market makers, leaders with their strategies, and crowd traders.

Serves   the markets of a seed, everybody who trades in them, and funded accounts for followers.
Owns     the simulated wallets; each trades by signed orders at the venue's engine, like any client.
Imports  not the control endpoint and not the recordings: both start or replace what lives here.
"""
