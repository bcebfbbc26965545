"""Money, prices, books, identities and rules that more than one service needs. Pure: no clock, no
I/O, no randomness.
"""
