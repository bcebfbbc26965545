"""The paper venue's chain: contracts placed where clients expect them, paper wallets, conditions,
and settlement of matches.

Only for a chain of our own (anvil): it writes contract code and balances straight into the node,
and its keys are public.
"""
