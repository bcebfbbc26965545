"""Ingest recognises each leader trade once, whichever feeds report it, and makes one intent per
follower of it.

consumes    leader-fills (keyed by leader), which its own feeds write: the activity socket, the
            chain's logs and, where DATA_URL is set, the Data API
produces    leader-fills (keyed by leader): also a row that is published again after it was wrongly
            taken for a resent settlement;
            copy-intents (keyed by proxy);
            dead-letters (frames that cannot be parsed)
owns        ingest.fills, ingest.copy_slices, ingest.copy_sizes, ingest.equities,
            ingest.complements, ingest.cursors, ingest.partition_cursors, ingest.leader_cursors;
            its rows of control.leases
guarantees  A trade is copied once, whatever subset of the feeds reports it, in whatever order and
            however often, also if its settlement fails and is sent again under another transaction.
            A later row adds a copy of the difference. Terms apply to the trade: its intents add up
            to the same amount, whatever rows reported it. What is below the venue's minimum is
            carried to a later trade, and spent once. An exit carries what the leader held.
            Two trades that look alike are both copied. A row that comes again makes no intents
            again. Instances share the leaders out, and read on where another one was.
fails       A feed that is silent or down does not stop the others, which report the same trades;
            a gap in the chain's logs is read again.
            A row that may report an already copied trade waits until its transaction is in a block.
            While the node fails, sales wait.
            While the venue does not name a complementary token, entries of counter follows into it
            are refused; other copies do not wait, and what was bought once can be sold. While it is
            not known what a wallet is worth, entries sized by it are refused
            If a settlement fails for good, its copies remain, and an error is logged
"""
