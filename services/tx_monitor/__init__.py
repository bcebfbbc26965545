"""Transaction monitor: whether a transaction is mined, and when it is final.

consumes    chain-requests, chain-reports (by proxy), which its own feed writes
produces    chain-results (by proxy); chain-reports (by proxy)
owns        tx_monitor.watches, tx_monitor.open_watches
guarantees  a mined transaction is published as provisional, and as final only once it is in a
            block at or below the finalized one; a reorg un-mines it; watches survive a restart;
            a transaction that is in no block for too long is published as dropped, and no longer
            polled
fails       by waiting: a node that does not answer changes nothing about a transaction
"""
