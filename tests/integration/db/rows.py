"""Rows as an earlier release wrote them."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


async def insert_row(connection: AsyncConnection, table: str, **values: Any) -> None:
    names = ", ".join(values)
    parameters = ", ".join(f":{name}" for name in values)
    await connection.execute(text(f"insert into {table} ({names}) values ({parameters})"), values)
