"""A local Polymarket: what a bot meets at the real venue, on this machine, with a chain behind it.

Serves     CLOB REST, market and user sockets, RTDS activity, Data API, Gamma, relayer, and a
           control endpoint of its own, all on one port.
Owns       nothing that lasts: books and keys live in this process, balances and positions on the
           chain.
Guarantees an order is matched by price, then time, in integer base units; money and shares are
           conserved; every signature is verified; every match is settled on the chain under the
           hash that was published with the match, or is published as RETRYING with another one.
           Anything else goes wrong only on demand (faults/).
Fails how  a settlement that reverts becomes a FAILED trade, and its changes of the venue's own
           balances are undone.
"""
