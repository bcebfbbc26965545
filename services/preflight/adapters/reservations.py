"""SQL of what the query ``q`` of a proxy reads of its reservations: those that are open, and those
that were settled since a time. No statement about a copy counts them in the history of intents.

What the open ones reserve is not added up for each copy: ``preflight.reservation_sums`` has the sum
of each proxy, changed in the commit of what is recorded or settled. So whoever locks the row of a
proxy knows that no reservation of the proxy begins or ends meanwhile.
"""

SQL_RESERVED_USDC = """(
    greatest(0, (select s.open_usdc from preflight.reservation_sums s where s.proxy = q.proxy))
    + (
        select coalesce(sum(r.reserved_usdc), 0)::bigint from preflight.reservations r
        where r.proxy = q.proxy and r.settled_at > q.since
    )
)"""
"""Of the query's proxy, in micro-USDC: what is reserved by what is open, and what was spent by what
was settled since the query's ``since``."""


def sql_add_to_sums(source: str) -> str:
    """Add to the sums of the proxies; ``source``: SQL of rows ``g`` with ``proxy`` and ``usdc``,
    negative for what is open no longer.
    """
    return f"""
insert into preflight.reservation_sums as s (proxy, open_usdc)
select g.proxy, sum(g.usdc) from {source}
group by g.proxy
order by g.proxy
on conflict (proxy) do update set open_usdc = s.open_usdc + excluded.open_usdc
returning s.proxy
"""


def sql_recent_entries(columns: str) -> str:
    """Of the query's proxy the entries that were approved since its ``entries_since``, and later,
    without the query's intent. What was approved since then was not settled before.
    """
    of_proxy = "select intent_id, side, judged_at from preflight.reservations where proxy = q.proxy"
    # Each is a range of the index: with ``or``, all that the proxy has would be read.
    return f"""(
        select {columns} from (
            {of_proxy} and settled_at is null
            union all
            {of_proxy} and settled_at > q.entries_since
        ) as r
        where r.judged_at > q.entries_since and r.side = 'BUY' and r.intent_id <> q.intent_id
    )"""
