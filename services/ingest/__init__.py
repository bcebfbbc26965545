"""Ingest: a leader's trade is recognised once, from whichever feed, and becomes one intent per follower.

consumes    leader-fills (by leader), which its own feeds write: the activity socket, the chain's logs and,
            where DATA_URL is set, the Data API
produces    leader-fills (by leader); copy-intents (by proxy); dead-letters (frames that cannot be read)
owns        ingest.fills, ingest.parts, ingest.cursors
guarantees  the same trade, seen by any subset, order or repetition of feeds, is copied once; a later row adds the difference
fails       open to the other feeds: one that is silent or gone is replaced by the others; a gap in the chain's logs is read again
"""
