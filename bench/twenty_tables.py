"""A schema of the size that a platform's has: twenty tables with keys, references, sequences and some seed rows."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

TABLES = tuple(f"bench.t{number}" for number in range(20))
SEEDED = TABLES[:2]


async def migrate(engine: AsyncEngine) -> None:
    """Build the schema; each table refers to the one before it."""
    async with engine.begin() as connection:
        await connection.execute(text("create schema if not exists bench"))
        before = None
        for table in TABLES:
            parent = f"references {before}" if before else ""
            await connection.execute(
                text(
                    f"create table if not exists {table} (id bigint generated always as identity primary key,"
                    f" parent bigint {parent}, made timestamptz not null default now(), said text not null)"
                )
            )
            before = table
        for table in SEEDED:
            await connection.execute(text(f"insert into {table} (said) values ('one'), ('two'), ('three')"))
