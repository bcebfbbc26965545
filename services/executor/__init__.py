"""Executor: one order per approved intent, whatever dies, followed until it is settled.

consumes    approved-intents, venue-reports (by proxy), which its own feed writes; chain-results (by proxy)
produces    copy-outcomes, chain-requests, venue-reports (by proxy); copy-intents (by proxy): what an exit has left over goes around again
owns        executor.orders, executor.trades; the view executor.positions; its rows of control.leases
guarantees  the signed bytes are kept before they are sent; the same bytes are sent again, never others; unknown is not failed;
            a no is final only once the venue has shown no trade of the order for as long as its
            views may lag; an order is never made again: what an exit did not sell is a new intent,
            told once its order is final; one writer per partition, by a lease, who looks at every
            open order before he takes a new intent
fails       waiting: an order without an outcome is asked for until there is one, and a human is called at its deadline; a halted proxy's
            intents are withdrawn unsigned
"""
