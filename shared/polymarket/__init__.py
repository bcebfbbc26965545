"""The venue's interfaces: sockets, REST, the texts of its replies, and orders that it accepts.

Facts about the venue are in docs/venue-protocol.md, as of 2026-11-22.
"""
