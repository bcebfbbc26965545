"""The control endpoint, which no real venue has, and the scenario files that drive it.

Serves   ``/control/*``: ``world``, ``stats``, ``accounts``, ``leaders``, ``leader-trade`` (api.py),
         ``faults`` (faults.py), ``tick`` and ``resolve`` (markets.py).
Owns     the running task of the leaders' trading.
Imports  not the recordings: facts about a recording are handed in as a function.
"""
