"""The venue: its sockets, its REST interface, its words, and orders that it accepts. Facts: the
protocol notes, as of 2026-11-22.
"""
