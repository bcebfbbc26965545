"""Transaction monitor: what followers' orders gave and received in final blocks, and whether a
transaction is mined and final.

consumes    chain-requests, chain-reports (by proxy), which its own feed writes
produces    chain-results (by proxy); chain-reports (by proxy)
owns        tx_monitor.watches, tx_monitor.open_watches, tx_monitor.partition_cursors;
            its rows of control.leases
guarantees  fills are published once their block is final, never before, and again with the same
            ids where the process died; those of a follower and block are all published, or none,
            with an error, where a log of them cannot be used;
            a mined transaction is published as provisional, and as final only once it is in a
            block at or below the finalized one; a reorg un-mines it; watches survive a restart;
            a transaction that is in no block for too long is published as dropped, and no longer
            polled
fails       by waiting: a node that does not answer changes nothing about a transaction, and fills
            are read on from the last final block that was read
"""
