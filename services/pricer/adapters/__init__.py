"""Pricer's ports: books, markets and prices of the venue, and the feed that keeps books current.

A book comes from the market channel where it can, then from another instance's cache entry, then
from the venue's REST interface.
"""
