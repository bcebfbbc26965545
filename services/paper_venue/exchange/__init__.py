"""The exchange: markets, orders, order books, accounts, the matching engine and trades.

Serves            every other part of the paper venue; ``matching_engine.py`` is its entry point.
Owns              all trading state, in memory and in integer base units.
Must not import   any other part of the paper venue, a network library, or a clock.
"""
