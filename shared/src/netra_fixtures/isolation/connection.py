"""The kit's own way to a PostgreSQL server, outside the tap, between the tests' event loops."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from netra_fixtures.identifiers import quoted
from netra_fixtures.services import refusals
from netra_fixtures.services.endpoint import PostgresEndpoint

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")
DEADLINE_S = 30
ANSWER_S = 5
CLOSING_POLLS = 1000  # of a millisecond each


class Database:
    """The kit's own way to a server: one event loop that runs between tests, and connections outside the tap.

    Args:
        admin: a database of the server that is nobody's, to create and drop others from.
    """

    def __init__(self, admin: PostgresEndpoint, *, time_factor: float) -> None:
        self.admin = admin
        self.deadline_s = DEADLINE_S * time_factor
        self._answer_s = ANSWER_S * time_factor
        self._loop = asyncio.new_event_loop()
        self._connection: asyncpg.Connection | None = None

    def wait(self, work: Coroutine[Any, Any, T], *, limited: bool = True) -> T:
        """Run *work* to its end, or to the deadline unless it has one of its own."""
        return self._loop.run_until_complete(self._within_deadline(work) if limited else work)

    async def _within_deadline(self, work: Coroutine[Any, Any, T]) -> T:
        async with asyncio.timeout(self.deadline_s):  # wait_for would make a second task
            return await work

    async def connect(self, endpoint: PostgresEndpoint, **settings: str) -> "asyncpg.Connection":
        """Open a connection; the caller closes it.

        Raises:
            ServicesUnavailable: none came about; the reason says why, without a password.
        """
        import asyncpg

        try:
            return await asyncpg.connect(
                host=str(endpoint.socket.parent) if endpoint.socket else endpoint.host,
                port=endpoint.port,
                user=endpoint.user,
                password=endpoint.password.get_secret_value() or None,
                database=endpoint.database,
                server_settings=settings,
                ssl=False,
                timeout=self._answer_s,
            )
        except (
            OSError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ) as error:
            raise refusals.of_postgres(error, endpoint, self._answer_s) from error

    async def admin_connection(self) -> "asyncpg.Connection":
        """Give the connection to the admin database; it stays open until `release`."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await self.connect(self.admin)
        return self._connection

    async def _execute(self, statement: str) -> None:
        await (await self.admin_connection()).execute(statement)

    def execute(self, statement: str) -> None:
        """Run one statement on the admin database."""
        self.wait(self._execute(statement))

    def clone(self, template: str, name: str) -> PostgresEndpoint:
        """Create a database from *template*."""
        self.execute(f"create database {quoted(name)} template {quoted(template)} strategy file_copy")
        return self.admin.named(name)

    def until_left(self, name: str, *, but: int = 0) -> None:
        """Wait until a database has no session but *but* of ours: a session reports its counts as it ends."""
        self.wait(self._until_left("select count(*) from pg_stat_activity where datname = $1", name, but))

    async def _until_left(self, count: str, name: str, but: int) -> None:
        connection = await self.admin_connection()
        for _ in range(CLOSING_POLLS):
            if await connection.fetchval(count, name) <= but:
                break
            await asyncio.sleep(0.001)

    def drop(self, name: str) -> None:
        """Drop a database, and whoever is still connected to it."""
        self.wait(self._drop(name))

    async def _drop(self, name: str) -> None:
        """Wait until its connections are gone first: DROP … FORCE would sleep 100 ms for one that is just closing."""
        terminated = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = $1"
        await self._until_left(terminated, name, 0)
        connection = await self.admin_connection()
        await connection.execute(f"drop database if exists {quoted(name)} with (force)")

    def drop_matching(self, pattern: str) -> None:
        """Drop every database whose name matches the regular expression, templates too."""
        self.wait(self._drop_matching(pattern))

    async def _drop_matching(self, pattern: str) -> None:
        import asyncpg

        connection = await self.admin_connection()
        for row in await connection.fetch("select datname from pg_database where datname ~ $1", pattern):
            with contextlib.suppress(asyncpg.InvalidCatalogNameError):  # somebody else was faster
                await connection.execute(f'alter database "{row["datname"]}" with is_template false')
                await connection.execute(f'drop database "{row["datname"]}" with (force)')

    def release(self) -> None:
        """Close the connection to the admin database; the server may be restarted then."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self.wait(connection.close())

    @contextlib.contextmanager
    def closed_on_failure(self) -> Iterator[None]:
        """Close everything where the block fails."""
        try:
            yield
        except BaseException:
            self.abandon()  # the block's own failure says more, and its server may never say goodbye
            raise

    def close(self) -> None:
        """Close everything."""
        self.release()
        self._loop.close()

    def abandon(self, *connections: "asyncpg.Connection") -> None:
        """Close everything without a word to a server that may be dead; a second time it does nothing."""
        if self._loop.is_closed():
            return
        for connection in (*connections, self._connection):
            if connection is not None:
                connection.terminate()
        self._loop.run_until_complete(asyncio.sleep(0))  # transports close in the loop's next turn
        self._loop.close()
