"""What copies leave behind: bytes in the database's tables and in the topics."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg

TABLES = """
select coalesce(parent.nspname, own.nspname) || '.' || coalesce(p.relname, c.relname) as name,
       sum(pg_total_relation_size(c.oid))::bigint as bytes
from pg_class c
join pg_namespace own on own.oid = c.relnamespace
left join pg_inherits i on i.inhrelid = c.oid
left join pg_class p on p.oid = i.inhparent
left join pg_namespace parent on parent.oid = p.relnamespace
where c.relkind = 'r' and own.nspname not in ('pg_catalog', 'information_schema')
group by 1
"""
"""Of each table with its indexes; those of its partitions together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes by table and by topic."""

    tables: Mapping[str, int]
    topics: Mapping[str, int]


async def read_sizes(database_url: str, *, stack_folder: Path) -> Sizes:
    """``stack_folder``: of the local stack, whose one broker keeps the topics there."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(TABLES)
    finally:
        await connection.close()
    return Sizes(
        tables={row["name"]: row["bytes"] for row in rows},
        topics=read_topic_sizes(stack_folder),
    )


def read_topic_sizes(stack_folder: Path) -> dict[str, int]:
    """The records of each topic, of all partitions, without its indexes."""
    sizes: dict[str, int] = {}
    for file in stack_folder.glob("run-*/kafka-*/*-*/*.log"):
        topic = file.parent.name.rpartition("-")[0]
        sizes[topic] = sizes.get(topic, 0) + file.stat().st_size
    return sizes


def compute_growth_per_thousand(
    before: Mapping[str, int], after: Mapping[str, int], *, copies: int
) -> dict[str, float]:
    """Bytes per 1,000 copies of all that grew, the largest first."""
    grown = {name: size - before.get(name, 0) for name, size in after.items()}
    return {
        name: size * 1000 / copies
        for name, size in sorted(grown.items(), key=lambda item: -item[1])
        if size > 0 and copies
    }
