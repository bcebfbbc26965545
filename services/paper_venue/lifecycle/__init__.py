"""The life of an order: accepted, matched, published, settled on the chain, confirmed or failed.

Serves            the protocols (``clob``, ``sockets``) and the simulated world; ``venue.py`` is its
                  entry point.
Owns              the order of effects (match, sign, publish, send), the trade log, and the
                  settlements on their way to the chain.
Must not import   a protocol, the world or the control API; it reaches sockets and chain through its
                  own interfaces (``Channels``, ``Settler``, ``ChainView``).
"""
