"""Preflight: the last check before money moves.

consumes    quoted-intents, copy-outcomes (by proxy); balances (by proxy), for the cache of
            balances that all instances share
produces    approved-intents, copy-outcomes (by proxy); balances (by proxy)
owns        preflight.intents, preflight.spending; the Faust table of balances, a cache that no
            money rests on
guarantees  one verdict per intent, for ever: a redelivery repeats it; what it approves is reserved
            in the same commit as the verdict
fails       closed: without confirmed controls, a known balance and a node that answers there is no
            approval
"""
