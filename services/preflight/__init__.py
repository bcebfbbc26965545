"""Preflight: the last check before money moves.

consumes    quoted-intents, copy-outcomes (by proxy); balances (by proxy), for the cache of
            balances that all instances share
produces    approved-intents, copy-outcomes (by proxy); balances (by proxy); copy-intents (by
            proxy): an exit that is attempted again, or that no trade of the leader calls for
owns        preflight.intents, verdicts, reservations, spending_windows, delayed_entries, positions,
            newest_copies, exits and leader_levels; the Faust table of balances, a cache that no
            money rests on
guarantees  one verdict per intent, for ever: a redelivery repeats it; what it approves is reserved
            in the same commit as the verdict, also where many are judged in one batch. An exit
            sells the leader's proportion of what its follow bought, and no other shares; it is
            attempted until it is sold, its time is over or its obstacle is final, and an operator
            is alerted where shares are left. What a leader holds less than his known trades explain
            is sold once, however it left him
fails       closed: without confirmed controls, a known balance and a node that answers there is no
            approval
"""
