"""The market, user and activity (RTDS) sockets.

Serves            socket clients; what is sent to them comes from ``lifecycle`` by ``channels.py``.
Owns              the connections, their subscriptions, and the delay of each channel.
Must not import   another protocol (``clob``, ``data_api``, ``gamma``, ``relayer``), the world or
                  the control API.
"""
