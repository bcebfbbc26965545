"""Gamma, the catalogue of markets and events.

Serves   ``/markets``, ``/events`` and their variants, below ``/gamma``.
Owns     nothing: every answer is built from the engine's markets and books.
Imports  no other protocol, neither world nor chain.
"""
