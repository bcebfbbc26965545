"""The CLOB's REST API: market data, API keys, trading, and an API key's own orders and balances.

Serves            CLOB clients over HTTP; ``api.py`` puts its parts together.
Owns              rate limits, heartbeats, and the lagging replica that stale reads come from.
Must not import   another protocol (``sockets``, ``data_api``, ``gamma``, ``relayer``), the world or
                  the control API.
"""
