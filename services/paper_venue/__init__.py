"""A local Polymarket: what a bot meets at the real venue, on this machine, with a chain behind it.

Serves     CLOB REST, market and user sockets, RTDS activity, Data API, Gamma, relayer, and a control endpoint of its own, all on one port.
Owns       nothing that lasts: books and keys live in this process, balances and positions on the chain.
Guarantees an order is matched by price, then time, in integer base units; no money or share appears or vanishes; every
           signature is verified; every match is settled on the chain under the hash that was told
           at match time, or told as RETRYING. What else goes wrong, goes wrong on demand
           (faults.py).
Fails how  a settlement that the chain refuses becomes a FAILED trade and is taken back from the venue's own balances.
"""
