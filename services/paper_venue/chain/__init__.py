"""The paper venue's chain: contracts placed where clients expect them, paper wallets, conditions,
and settlement of matches.

Serves   a deployed local chain, funded wallets of every kind, and the settlement of matches.
Owns     the admin's and the operator's keys and nonces, and the compiled contracts (compiled/).
Imports  no protocol and no simulated trader; of the venue only what a match is (lifecycle).

Only for a chain of our own (anvil): it writes contract code and balances straight into the node,
and its keys are public.
"""
