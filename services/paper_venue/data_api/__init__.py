"""The Data API, version 2: activity, trades, positions and approvals, from an index of the chain.

Serves   ``/v2/trades``, ``/v2/activity``, ``/v2/positions``, ``/v2/value``, ``/v2/approvals``.
Owns     the index of the chain's logs: every wallet's activity and holdings.
Imports  no other protocol; of the engine only markets, and books for the current price.
"""
