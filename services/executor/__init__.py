"""Executor: makes one order per approved intent and follows it until it is settled.

consumes    approved-intents, chain-results (by proxy); venue-reports (by proxy), its own feeds'
produces    copy-outcomes, chain-requests, venue-reports (by proxy)
owns        executor.orders, order_states, open_orders, trades, position_sums and api_keys; the
            views executor.positions and orders_with_states; its rows of control.leases
guarantees  The signed bytes are recorded before they are sent. Only the same bytes are sent again.
            An unknown outcome is not a failure. A refusal or kill is final only after the venue has
            shown no trade of the order for as long as its views may lag. No second order is made
            for an intent: what an exit's order did not sell is preflight's business. An order's
            end comes from the fills of final blocks, each counted once; the venue's trades are
            asked for where these are late. One instance writes for a partition, by its lease; it
            checks every open order before it takes a new intent.
fails       By waiting: an order without an outcome is looked up until there is one, and an operator
            is alerted at its deadline. The intents of a halted proxy are withdrawn unsigned.
"""
