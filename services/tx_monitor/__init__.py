"""Transaction monitor: what followers' orders gave and received in final blocks, whether a
transaction is mined and final, and transfers between operator wallets and proxies.

consumes    chain-requests, chain-reports (by proxy), which its own feed writes
produces    chain-results (by proxy); chain-reports (by proxy)
owns        tx_monitor.watches, tx_monitor.open_watches, tx_monitor.partition_cursors,
            tx_monitor.transfers, tx_monitor.attempts, tx_monitor.operators; its rows of
            control.leases
guarantees  fills are published once their block is final, never before, and again with the same
            ids where the process died; those of a follower and block are all published, or none,
            with an error, where a log of them cannot be used;
            a mined transaction is published as provisional, and as final only once it is in a
            block at or below the finalized one; a reorg un-mines it; watches survive a restart;
            a transaction that is in no block for too long is published as dropped, and no longer
            polled;
            a transfer has one nonce and is made at most once; its attempts are recorded before they
            are sent, under the lease of its operator wallet; one of a proxy is open at a time
fails       by waiting: a node that does not answer changes nothing about a transaction or transfer,
            and fills are read on from the last final block that was read; a wallet whose nonce
            somebody else used begins nothing until an operator resumes it
"""
