"""SQL of what the query ``q`` of a proxy reads of its reservations: those that are open, and those
that were settled since a time. No statement about a copy counts them in the history of intents.
"""


def sql_reserved(columns: str, *, since: str) -> str:
    """Of the query's proxy the reservations that are open, or were settled after a time, an SQL
    expression. Each is a range of the index: with ``or``, all that the proxy has would be read.
    """
    of_proxy = f"select {columns} from preflight.reservations where proxy = q.proxy"
    return f"""(
        {of_proxy} and settled_at is null
        union all
        {of_proxy} and settled_at > {since}
    )"""


def sql_recent_entries(columns: str) -> str:
    """Of the query's proxy the entries that were approved since its ``entries_since``, and later,
    without the query's intent. What was approved since then was not settled before.
    """
    reserved = sql_reserved("intent_id, side, judged_at", since="q.entries_since")
    return f"""(
        select {columns} from {reserved} as r
        where r.judged_at > q.entries_since and r.side = 'BUY' and r.intent_id <> q.intent_id
    )"""
