"""Where a server is and how to talk to it; the same whichever backend brought it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import SplitResult, quote, unquote, urlsplit

from pydantic import BaseModel, SecretStr

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from sqlalchemy.ext.asyncio import AsyncEngine


def _split(url: str, *schemes: str) -> SplitResult:
    """Split an address; what is wrong with it is said without a word of it, since it may hold a password."""
    begin = f"{schemes[0]}://"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  reading it checks it
    except ValueError:
        raise ValueError(
            "its host or port can't be read; in a password write / @ : # as %2F %40 %3A %23"
        ) from None
    if parts.scheme.split("+")[0] not in schemes:
        secured = parts.scheme == "rediss"
        raise ValueError("the kit speaks no TLS" if secured else f"it doesn't begin with {begin}")
    if not parts.hostname:
        raise ValueError("it names no host")
    if parts.query:
        raise ValueError("it has options after a question mark, which the kit doesn't take")
    return parts


class Endpoint(BaseModel, frozen=True):
    """The address of a server: a Unix socket where it has one, else host and port."""

    host: str = "127.0.0.1"
    port: int
    socket: Path | None = None

    @property
    def _authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def target(self) -> Path | tuple[str, int]:
        """What a plain socket connects to: the path of a Unix socket, or (host, port)."""
        return self.socket or (self.host, self.port)

    def over(self, socket: Path) -> Self:
        """Give the same server reached over another Unix socket."""
        return self.model_copy(update={"socket": socket, "port": type(self).model_fields["port"].default})

    def at(self, host: str, port: int) -> Self:
        """Give the same server reached over another address, a link's for one."""
        return self.model_copy(update={"host": host, "port": port, "socket": None})


class PostgresEndpoint(Endpoint, frozen=True):
    """One database of a PostgreSQL server."""

    port: int = 5432
    user: str
    password: SecretStr = SecretStr("")
    database: str

    def url(self, driver: str = "postgresql+asyncpg") -> str:
        """Give the SQLAlchemy URL, password included."""
        login = quote(self.user, safe="")
        if self.password.get_secret_value():
            login += ":" + quote(self.password.get_secret_value(), safe="")
        if self.socket:
            return (
                f"{driver}://{login}@/{self.database}?host={quote(str(self.socket.parent))}&port={self.port}"
            )
        return f"{driver}://{login}@{self._authority}/{self.database}"

    def told(self) -> dict[str, Any]:
        """Give what another process reads it from, password included."""
        return self.model_dump(mode="json") | {"password": self.password.get_secret_value()}

    def engine(self, **options: Any) -> "AsyncEngine":
        """Make an async SQLAlchemy engine; the caller disposes of it.

        Args:
            options: what `sqlalchemy.ext.asyncio.create_async_engine` takes.
        """
        from sqlalchemy.ext.asyncio import create_async_engine

        if not self.socket:
            # No link carries TLS; where asyncpg is cut off as it asks for it, it leaves an error to nobody.
            options["connect_args"] = {"ssl": "disable"} | options.get("connect_args", {})
        return create_async_engine(self.url(), **options)

    @property
    def dsn(self) -> str:
        """Give the URL that libpq, psql and asyncpg take, password included."""
        return self.url("postgresql")

    def named(self, database: str) -> "PostgresEndpoint":
        """Give the same server with another database."""
        return self.model_copy(update={"database": database})

    @classmethod
    def from_url(cls, url: str) -> "PostgresEndpoint":
        """Read ``postgresql://user:password@host:port/database``.

        Raises:
            ValueError: it is no such URL.
        """
        parts = _split(url, "postgresql", "postgres")
        return cls(
            host=parts.hostname or "",
            port=parts.port or 5432,
            user=unquote(parts.username or "postgres"),
            password=SecretStr(unquote(parts.password or "")),
            database=unquote(parts.path.lstrip("/")) or "postgres",
        )


class RedisEndpoint(Endpoint, frozen=True):
    """One logical database of a Redis server, or of one that speaks its protocol."""

    port: int = 6379
    username: str = ""
    password: SecretStr = SecretStr("")
    db: int = 0

    @property
    def url(self) -> str:
        """Give the URL that redis-py and redis-cli take, password included."""
        login = ""
        if self.password.get_secret_value():
            login = f"{quote(self.username, safe='')}:{quote(self.password.get_secret_value(), safe='')}@"
        if self.socket:
            return f"unix://{login}{quote(str(self.socket))}?db={self.db}"
        return f"redis://{login}{self._authority}/{self.db}"

    def client(self, **options: Any) -> "Redis":
        """Make an async client; the caller closes it.

        Args:
            options: what `redis.asyncio.Redis` takes.
        """
        from redis.asyncio import Redis

        return Redis.from_url(self.url, **options)

    @classmethod
    def from_url(cls, url: str) -> "RedisEndpoint":
        """Read ``redis://user:password@host:port/db``.

        Raises:
            ValueError: it is no such URL.
        """
        parts = _split(url, "redis", "valkey")
        number = parts.path.lstrip("/") or "0"
        if not number.isdecimal():
            raise ValueError("what follows the port is no database's number")
        return cls(
            host=parts.hostname or "",
            port=parts.port or 6379,
            username=unquote(parts.username or ""),
            password=SecretStr(unquote(parts.password or "")),
            db=int(number),
        )
