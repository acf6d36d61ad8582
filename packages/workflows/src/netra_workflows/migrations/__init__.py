"""Build the schema `workflows`, or bring it up to date."""

import asyncio

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

SCHEMA = "workflows"
_ONE_AT_A_TIME = asyncio.Lock()  # Alembic keeps its context in module globals


async def migrate(engine: AsyncEngine) -> None:
    """Bring the schema to the version that this package needs; safe to call again, and by many at once."""
    config = Config()
    config.set_main_option("script_location", "netra_workflows:migrations")
    config.set_main_option("path_separator", "os")

    def upgrade(connection: Connection) -> None:
        config.attributes.update(connection=connection, schema=SCHEMA)
        command.upgrade(config, "head")

    async with _ONE_AT_A_TIME, engine.begin() as connection:
        await connection.execute(
            text("select pg_advisory_xact_lock(hashtextextended(:schema, 0))"), {"schema": SCHEMA}
        )
        await connection.execute(text(f'create schema if not exists "{SCHEMA}"'))
        await connection.run_sync(upgrade)
