"""A server at an address that was given and can't be used is one sentence with a remedy, said once."""

import asyncio
import http.server
import secrets
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis

from .held import holding
from .runs import THREE_LOOKS, Outcome, Run

PASSWORD = "hunter2-is-nobodys-business"
REDIS = """
async def test_one(redis_client):
    await redis_client.ping()

async def test_two(redis_client):
    await redis_client.ping()

async def test_three(redis_client):
    await redis_client.ping()
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Servers that somebody started by hand, as the variables that name them."""
    with holding(tmp_path_factory.mktemp("held")) as servers:
        yield servers


@pytest.fixture
def ask(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Outcome]:
    """Run three tests that need one server, at the address given."""

    def ask(variable: str, url: str) -> Outcome:
        monkeypatch.setenv(variable, url)
        outcome = run(THREE_LOOKS if "POSTGRES" in variable else REDIS, "-rN")
        assert PASSWORD not in outcome.text
        return outcome

    return ask


Ask = Callable[[str, str], Outcome]


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    """Answer on a free port; give its address."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def nowhere() -> Iterator[dict[str, str]]:
    """Addresses at which no server of ours is: nobody listens, nobody speaks, a web server answers."""
    with ExitStack() as stack:
        closed, silent = (stack.enter_context(socket.socket()) for _ in range(2))
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        web = stack.enter_context(serving(http.server.SimpleHTTPRequestHandler))
        yield {
            "closed": f"127.0.0.1:{closed.getsockname()[1]}",
            "silent": f"127.0.0.1:{silent.getsockname()[1]}",
            "web": web,
        }


@pytest.mark.parametrize(
    ("scheme", "where", "said"),
    [
        ("postgresql", "closed", "nothing listens at {}; start the server, or correct NETRA_POSTGRES_URL"),
        ("postgresql", "silent", "{} doesn't answer as PostgreSQL does within 5 s; check the host and port"),
        ("postgresql", "web", "{} doesn't answer as PostgreSQL does"),
        ("redis", "closed", "nothing listens at {}; start the server, or correct NETRA_REDIS_URL"),
        ("redis", "silent", "{} doesn't answer as Redis does within 5 s; check the host and port"),
        ("redis", "web", "{} doesn't answer as Redis does; check the host and port"),
    ],
)
def test_an_address_without_the_server_is_named(
    ask: Ask, nowhere: dict[str, str], scheme: str, where: str, said: str
) -> None:
    """A test that waits for ever, or a hundred that say "connection refused", tell nobody what to correct."""
    variable = "NETRA_POSTGRES_URL" if scheme == "postgresql" else "NETRA_REDIS_URL"

    outcome = ask(variable, f"{scheme}://user:{PASSWORD}@{nowhere[where]}/0")

    outcome.assert_said_once(said.format(nowhere[where]))


def test_an_address_is_never_passed_over_for_a_server_of_our_own(ask: Ask, nowhere: dict[str, str]) -> None:
    """Whoever names a server wants it tested; green without it, or skipped, would be a lie."""
    outcome = ask("NETRA_REDIS_URL", f"redis://{nowhere['closed']}/0")

    outcome.result.assert_outcomes(errors=1)


def test_the_addresses_of_both_mixed_up_are_told(
    ask: Ask, servers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two variables with two addresses are easily pasted the wrong way round."""
    postgres, keys = (urlsplit(servers[f"NETRA_{name}_URL"]).netloc for name in ("POSTGRES", "REDIS"))
    place = {login: login.rpartition("@")[2] for login in (postgres, keys)}

    mistaken = ask("NETRA_POSTGRES_URL", f"postgresql://user:{PASSWORD}@{place[keys]}/postgres")
    mistaken.assert_said_once(f"{place[keys]} doesn't answer as PostgreSQL does")
    monkeypatch.delenv("NETRA_POSTGRES_URL")
    mistaken = ask("NETRA_REDIS_URL", f"redis://:{PASSWORD}@{place[postgres]}/0")
    mistaken.assert_said_once(f"{place[postgres]} doesn't answer as Redis does")


def test_a_refused_user_of_postgresql_is_named_and_the_password_is_not(
    ask: Ask, servers: dict[str, str]
) -> None:
    """The output of CI is read by many; the password in it would be theirs too."""
    place = servers["NETRA_POSTGRES_URL"].rpartition("@")[2]

    outcome = ask("NETRA_POSTGRES_URL", f"postgresql://netra:{PASSWORD}@{place}")

    outcome.assert_said_once(
        "refuses the user 'netra': password authentication failed for user \"netra\"; check the user"
    )


@pytest.mark.parametrize(
    ("login", "said"),
    [
        (f":{PASSWORD}@", "refuses the password, or its absence:"),
        ("", "refuses the password, or its absence:"),
        (f"clerk:{PASSWORD}@", "refuses the user 'clerk':"),
    ],
    ids=["wrong password", "no password", "wrong user"],
)
def test_a_refused_user_of_redis_is_named_and_the_password_is_not(
    ask: Ask, servers: dict[str, str], login: str, said: str
) -> None:
    """The output of CI is read by many; the password in it would be theirs too."""
    place = servers["NETRA_REDIS_URL"].rpartition("@")[2]

    outcome = ask("NETRA_REDIS_URL", f"redis://{login}{place}")

    outcome.assert_said_once(said)
    assert "check the user and password, or correct NETRA_REDIS_URL" in outcome.text


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ("", "its user may not create databases; alter role … createdb"),
        ("createdb", "grant set on parameter session_replication_role to it"),
    ],
)
def test_a_user_of_postgresql_without_a_right_is_told_which(
    ask: Ask, servers: dict[str, str], right: str, said: str
) -> None:
    """An administrator grants what is named, not what may be guessed, and finds nothing left by the attempt."""
    url, role = servers["NETRA_POSTGRES_URL"], f"clerk_{secrets.token_hex(4)}"
    execute(url, f"create role {role} login {right} password '{PASSWORD}'")

    outcome = ask("NETRA_POSTGRES_URL", f"postgresql://{role}:{PASSWORD}@{url.rpartition('@')[2]}")

    outcome.assert_said_once(said)
    assert execute(url, "select datname from pg_database where datname like 'netra%'") == []


def execute(url: str, statement: str) -> list[str]:
    """Run a statement as the server's owner; give the first column."""

    async def work() -> list[str]:
        connection = await asyncpg.connect(url)
        try:
            return [row[0] for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(work())


def test_a_database_that_is_not_there_is_named(ask: Ask, servers: dict[str, str]) -> None:
    """Its name is the last word of an address, and easily left as it was in an example."""
    url = servers["NETRA_POSTGRES_URL"].rpartition("/")[0] + "/nowhere"

    ask("NETRA_POSTGRES_URL", url).assert_said_once("has no database 'nowhere'; create it, or name another")


def test_a_user_of_redis_without_a_right_is_told_which(ask: Ask, servers: dict[str, str]) -> None:
    """A server that several teams share gives each its keys; ours have to be among them."""
    url = servers["NETRA_REDIS_URL"]
    with redis.Redis.from_url(url) as owner:
        owner.acl_setuser(
            "guest", enabled=True, passwords=[f"+{PASSWORD}"], keys=["app:*"], commands=["+@all"]
        )

    outcome = ask("NETRA_REDIS_URL", f"redis://guest:{PASSWORD}@{url.rpartition('@')[2]}")

    outcome.assert_said_once("allow the user INFO, SCAN and UNLINK, and keys of netra-*")


class OldPostgres(socketserver.BaseRequestHandler):
    """Greets as PostgreSQL 14 did: what isn't to be had any more stands here in a few bytes."""

    def handle(self) -> None:
        self.request.recv(4096)
        version = b"server_version\x0014.11 (Debian 14.11-1)\0"
        self.request.sendall(
            b"R" + struct.pack("!ii", 8, 0)
            + b"S" + struct.pack("!i", 4 + len(version)) + version
            + b"K" + struct.pack("!iii", 12, 1, 1)
            + b"Z" + struct.pack("!i", 5) + b"I"
        )  # fmt: skip
        while self.request.recv(4096):
            pass


class OldRedis(socketserver.StreamRequestHandler):
    """Greets as Redis 5 did, and knows INFO alone."""

    def handle(self) -> None:
        while head := self.rfile.readline():
            words = []
            for _ in range(int(head[1:])):
                self.rfile.readline()
                words.append(self.rfile.readline().strip().upper())
            said = b"redis_version:5.0.14\r\n"
            known = words[0] == b"INFO"
            self.wfile.write(b"$%d\r\n%b\r\n" % (len(said), said) if known else b"-ERR unknown command\r\n")


@pytest.mark.parametrize(
    ("variable", "handler", "said"),
    [
        ("NETRA_POSTGRES_URL", OldPostgres, "the server is 14.11 and 15 or newer is needed"),
        ("NETRA_REDIS_URL", OldRedis, "the server is 5.0.14 and 6.2 or newer is needed"),
    ],
)
def test_a_server_that_is_too_old_is_told_with_both_versions(
    ask: Ask, variable: str, handler: type[socketserver.BaseRequestHandler], said: str
) -> None:
    """Without that, the first statement that it doesn't know fails, somewhere, and looks like a bug of ours."""
    scheme = "postgresql" if "POSTGRES" in variable else "redis"
    with serving(handler) as place:
        outcome = ask(variable, f"{scheme}://{place}/0")

    outcome.assert_said_once(said)
    assert f"point {variable} at a newer one, or unset it" in outcome.text


def test_what_cannot_be_had_is_said_once_by_every_worker_at_most(
    run: Run, nowhere: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand tests on two workers are no reason to say it a thousand times."""
    monkeypatch.setenv("NETRA_REDIS_URL", f"redis://{nowhere['closed']}/0")
    source = (
        "import pytest\n\n@pytest.mark.parametrize('turn', range(100))\n"
        "async def test_visit(redis_client, turn):\n    await redis_client.ping()\n"
    )

    outcome = run(source, "-n", "2", "-rN")

    assert outcome.result.ret != 0
    assert 1 <= outcome.text.count("nothing listens at") <= 2
    assert "the tests end here: what they share can't be had" in outcome.text
    assert outcome.report["run"]["verdict"] == "failed"
