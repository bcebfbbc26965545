"""Pricer: what an intent would cost now, by walking the order book.

consumes    copy-intents (by proxy); quotes (by token), for the cache of books that all
            instances share
produces    quoted-intents (by proxy); quotes (by token); dead-letters (unreadable frames)
owns        no table in PostgreSQL; the Faust table of quotes, a cache that no money rests on
guarantees  one answer per intent: the levels that it was priced on, with their time, or why there
            are none; never a guess. Where the filters of a follow need them, with what the venue's
            catalogue says of the market. Intents of a moment are quoted in one batch, where the
            caches have all that they need
fails       to a bounded fallback where no current book can be had (the last good book, midpoint,
            last trade, the leader's price), and then to "no quote": an empty book is not a price,
            and a venue that does not answer is not an empty book
"""
