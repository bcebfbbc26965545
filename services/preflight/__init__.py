"""Preflight: the last look before money moves.

consumes    quoted-intents, copy-outcomes (by proxy); balances (by proxy), for the table of balances that all instances share
produces    approved-intents, copy-outcomes (by proxy); balances (by proxy)
owns        preflight.intents, preflight.spending; the Faust table of balances, which holds nothing that money rests on
guarantees  one verdict per intent for ever, a redelivery repeats it; what it approves is reserved in the same commit as the verdict
fails       closed: controls not confirmed, no balance known, a node that does not answer: no approval
"""
