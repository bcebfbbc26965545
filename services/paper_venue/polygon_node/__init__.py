"""A JSON-RPC node in front of anvil that behaves like Polygon's (bor, a fork of go-ethereum).

Anvil alone accepts what Polygon refuses, refuses what Polygon keeps, and forgets what a reorg
un-mined. This node owns the transaction pool and builds the blocks; anvil only executes them.

Serves            JSON-RPC over HTTP on any number of fronts, each with faults and a lag of its own:
                  two fronts are two providers that may disagree.
Owns              the pool, the base fee, and what a producer holds back; all in this process.
Must not import   any other wing: it knows transactions and blocks, not the venue.
"""
