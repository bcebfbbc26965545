"""Transaction monitor: what became of a transaction on the chain, and when that is certain.

consumes    chain-requests, chain-reports (by proxy), which its own feed writes
produces    chain-results (by proxy); chain-reports (by proxy)
owns        tx_monitor.watches
guarantees  mined is told as provisional, final only when the finalized block has passed it; a reorg un-mines; a restart forgets nothing;
            what is in no block for too long is told as dropped, and no longer looked for
fails       waiting: a node that does not answer says nothing about a transaction
"""
