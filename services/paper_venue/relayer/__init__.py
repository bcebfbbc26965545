"""The relayer: sends calls that wallets' owners have signed, and pays their gas.

Serves   ``/deployed``, ``/submit``, the relayer's other paths, and ``/control/relayer-key``.
Owns     the relayer's key and nonces, and the jobs in this process.
Imports  no other protocol and no order book: wallets act on the chain alone.
"""
