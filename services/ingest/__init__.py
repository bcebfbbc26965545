"""Ingest: a leader's trade is recognised once, from whichever feed, and becomes one intent per
follower.

consumes    leader-fills (by leader), which its own feeds write: the activity socket, the chain's logs and,
            where DATA_URL is set, the Data API
produces    leader-fills (by leader), also once more a row that was wrongly taken for another trade's; copy-intents (by proxy);
            dead-letters (frames that cannot be read)
owns        ingest.fills, ingest.copy_slices, ingest.cursors
guarantees  the same trade, seen by any subset, order or repetition of feeds, is copied once, also if its settlement fails and is sent
            again under another transaction; a later row adds the difference; two trades that look
            alike are both copied
fails       open to the other feeds: one that is silent or gone is replaced by the others; a gap in the chain's logs is read again.
            What may be a trade twice waits for the chain. Of a settlement that fails for good the
            copies stand, and an error says so
"""
