"""The paper venue: a local Polymarket with a chain behind it, for tests, demos and other bots.

Serves     CLOB REST, market and user sockets, RTDS activity, Data API, Gamma, relayer, and a
           control endpoint of its own, all on one port.
Owns       nothing that lasts: order books and API keys live in this process, balances and positions
           on the chain.
Guarantees an order is matched by price, then time, in integer base units; no money or share appears
           or vanishes; every signature is verified; every match is settled on the chain under the
           hash that was published at match time, or is reported as RETRYING. Whatever else goes
           wrong goes wrong on demand (faults/).
Fails how  a settlement that the chain refuses becomes a FAILED trade, and the venue's own balances
           are corrected.

The wings, from the inside out (the import contract in pyproject.toml):
exchange    matching, order books, accounts; imports no other wing
http        authentication, payloads and errors that all HTTP APIs share
faults      the faults, the venue's clock, and what they do to requests
lifecycle   an order's way from acceptance to settlement, and what is published about it
chain       contracts, wallets, conditions and settlement on the local chain
clob, sockets, data_api, gamma, relayer    the public protocols; none imports another
polygon_node    a node like Polygon's in front of the chain, started by itself
world       simulated markets and traders
recordings  recording a venue, and playing a recording
control     /control/*, and scenarios
"""
