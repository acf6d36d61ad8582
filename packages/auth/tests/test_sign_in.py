"""A sign-in lets in the right person, and tells everybody else nothing."""

import asyncio
import json
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from netra_auth import (
    Account,
    Accounts,
    AccountUnknown,
    EmailTaken,
    HashingOverloaded,
    InvalidEmail,
    InvalidIdentifier,
    Kind,
    PasswordRefused,
    SignedIn,
    SignInRefused,
    StoreUnavailable,
    TenantId,
    UserId,
    ViolationLog,
)
from netra_fixtures import Goal, PostgresEndpoint, Tier, business_value, eventually, within
from netra_fixtures.data import ThirdPartyData

from .conftest import QUICK

pytestmark = business_value(
    tier=Tier.FREE,
    goals={Goal.SECURITY},
    impact="an attacker learns neither who has an account nor its password",
)
OpenAccounts = Callable[..., Any]
_WAITING = (
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
)
ACME, HOME = TenantId("acme"), "192.0.2.7"
HORSE, WRONG = SecretStr("correct horse battery"), SecretStr("wrong horse battery")
HARDER = QUICK.model_copy(update={"rounds": QUICK.rounds + 1})
NO_PASSWORDS = {
    "NUL": "correct horse battery\x00",
    "a lone surrogate": "correct horse battery\ud800",
    "huge": "x" * 1_000_000,
}


@pytest.fixture
async def alice(accounts: Accounts) -> Account:
    """Somebody with an account."""
    return await accounts.register("alice@example.com", HORSE, tenant=ACME)


SignedOut = Callable[[], Awaitable[Sequence[str]]]


@pytest.fixture
def signed_out(engine: AsyncEngine) -> SignedOut:
    """Read who was signed out everywhere, in turn."""

    async def read() -> Sequence[str]:
        async with engine.connect() as connection:
            done = "select subject from auth.revocation where what = 'user' and signs_out order by id"
            return (await connection.execute(text(done))).scalars().all()

    return read


class Work:
    """What a sign-in costs: SQL statements, scripts in Redis and hashes."""

    def __init__(self, engine: AsyncEngine, redis: Redis) -> None:
        self._engine = engine
        self._redis = redis
        self._statements: list[str] = []

    async def of(self, one: Any, email: str, password: SecretStr) -> tuple[object, ...]:
        """Sign in in vain; return the answer with what it took."""
        self._statements.clear()
        scripts, hashes = await self._scripts(), one.hasher.hashes
        with pytest.raises(SignInRefused) as refused:
            await one.accounts.sign_in(email, password, address=HOME)
        took = (await self._scripts() - scripts, one.hasher.hashes - hashes)
        return (str(refused.value), refused.value.args, vars(refused.value) == {}, *took, *self._statements)

    async def _scripts(self) -> int:
        stats = await self._redis.info("commandstats")
        return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("eval", "evalsha"))

    def note(self, _c: object, _k: object, statement: str, *_: object) -> None:
        """Keep a statement."""
        self._statements.append(statement)


@pytest.fixture
def work(engine: AsyncEngine, own_redis: Redis) -> Iterator[Work]:
    """Watch what a refusal costs."""
    work = Work(engine, own_redis)
    event.listen(engine.sync_engine, "before_cursor_execute", work.note)
    yield work
    event.remove(engine.sync_engine, "before_cursor_execute", work.note)


async def test_a_refusal_is_the_same_whatever_its_reason(
    open_accounts: OpenAccounts, own_redis: Redis, work: Work, log: ViolationLog
) -> None:
    """Answer and work are one for a missing user, a wrong password, and a closed or locked account."""
    one, older = await open_accounts(redis=own_redis, policy=HARDER), await open_accounts(redis=own_redis)
    registered = {}
    for name in ("alice", "bob", "carol"):
        registered[name] = await one.accounts.register(f"{name}@example.com", HORSE, tenant=ACME)
    await older.accounts.register("dora@example.com", HORSE, tenant=ACME)  # with fewer rounds
    await one.accounts.disable(registered["bob"].id)
    for _ in range(5):
        with pytest.raises(SignInRefused):
            await one.accounts.sign_in("carol@example.com", WRONG, address=None)

    costs = {
        "missing": await work.of(one, "nobody@example.com", HORSE),
        "wrong": await work.of(one, "alice@example.com", WRONG),
        "wrong, stored with fewer rounds": await work.of(one, "dora@example.com", WRONG),
        "disabled": await work.of(one, "bob@example.com", HORSE),
        "locked": await work.of(one, "carol@example.com", HORSE),
        "locked and wrong": await work.of(one, "carol@example.com", WRONG),
    }

    assert len(set(costs.values())) == 1, costs
    assert costs["missing"][3:5] == (1, 1)
    assert [violation.kind for violation in reversed(await log.find())][5:] == [
        Kind.UNKNOWN_ACCOUNT,
        Kind.WRONG_PASSWORD,
        Kind.WRONG_PASSWORD,
        Kind.DISABLED_ACCOUNT,
        Kind.LOCKED,
        Kind.LOCKED,
    ]


async def test_of_registrations_at_once_one_gets_the_address(
    open_accounts: OpenAccounts, engine: AsyncEngine
) -> None:
    """Ten clicks on one button make one account, in however many processes they arrive."""
    processes = [await open_accounts() for _ in range(2)]
    emails = ["alice@example.com", "ALICE@example.com"]

    results = await asyncio.gather(
        *(processes[n % 2].accounts.register(emails[n % 2], HORSE, tenant=ACME) for n in range(10)),
        return_exceptions=True,
    )

    assert sorted(type(one).__name__ for one in results) == ["Account", *["EmailTaken"] * 9]
    async with engine.connect() as connection:
        assert await connection.scalar(text("select count(*) from auth.account")) == 1


async def test_an_outage_shows_nothing_of_what_was_to_be_stored(
    open_accounts: OpenAccounts, engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """Tracebacks and logs are read by more people than the table of passwords, and kept for longer."""
    caplog.set_level(logging.DEBUG, "sqlalchemy.engine")
    email = "alice@example.com"
    one = await open_accounts(deadline=timedelta(seconds=1))

    async with engine.begin() as stuck:
        await stuck.execute(text("lock table auth.account"))
        with pytest.raises(StoreUnavailable) as unavailable:
            await one.accounts.register(email, HORSE, tenant=ACME)

    shown = "".join(traceback.format_exception(unavailable.value)) + caplog.text
    assert "insert into auth.account" in shown
    assert [told for told in ("pbkdf2-sha256", email) if told in shown] == []


async def test_a_changed_password_ends_what_the_old_one_opened(
    accounts: Accounts, alice: Account, signed_out: SignedOut, log: ViolationLog
) -> None:
    """Who changes the password because a thief knows it is rid of the thief."""
    new = SecretStr("a better horse battery")

    with pytest.raises(SignInRefused):
        await accounts.change_password(alice.id, WRONG, new, address=HOME)
    assert await signed_out() == []
    await accounts.change_password(alice.id, HORSE, new, address=HOME)

    with pytest.raises(SignInRefused):
        await accounts.sign_in(alice.email, HORSE, address=HOME)
    assert isinstance(await accounts.sign_in(alice.email, new, address=HOME), SignedIn)
    assert await signed_out() == [alice.id]
    assert [one.kind for one in await log.find()] == [Kind.WRONG_PASSWORD] * 2


async def test_a_password_that_is_forbidden_is_not_changed_to(accounts: Accounts, alice: Account) -> None:
    """The policy holds for the second password as for the first."""
    for password in ("password123", "short", alice.email):
        with pytest.raises(PasswordRefused):
            await accounts.change_password(alice.id, HORSE, SecretStr(password), address=HOME)

    assert isinstance(await accounts.sign_in(alice.email, HORSE, address=HOME), SignedIn)


async def test_a_password_stays_where_the_tokens_of_the_old_one_cannot_be_ended(
    open_accounts: OpenAccounts, accounts: Accounts, alice: Account, engine: AsyncEngine
) -> None:
    """A user is never told that a thief is out while the thief's tokens still work."""

    one = await open_accounts(deadline=timedelta(seconds=0.5))

    async with engine.begin() as stuck:
        await stuck.execute(text("lock table auth.revocation"))
        with pytest.raises(StoreUnavailable):
            await one.accounts.change_password(alice.id, HORSE, SecretStr("a better horse"), address=HOME)
        with pytest.raises(StoreUnavailable):
            await one.accounts.disable(alice.id)

    assert isinstance(await accounts.sign_in(alice.email, HORSE, address=HOME), SignedIn)


async def test_a_sign_in_that_a_change_of_password_overtakes_is_refused(
    accounts: Accounts, alice: Account, engine: AsyncEngine
) -> None:
    """A thief who signs in at the very moment of the change does not slip through."""

    async def waiting(number: int) -> None:
        async with engine.connect() as connection:
            assert await connection.scalar(text(_WAITING)) == number

    async with engine.begin() as stuck:
        await stuck.execute(text("lock table auth.revocation"))
        change = asyncio.create_task(
            accounts.change_password(alice.id, HORSE, SecretStr("a better horse"), address=HOME)
        )
        await eventually(lambda: waiting(1), seconds=20)
        # the row is changed and not committed: a sign-in still reads the old password, and it fits
        sign_in = asyncio.create_task(accounts.sign_in(alice.email, HORSE, address=None))
        await eventually(lambda: waiting(2), seconds=20)

    await change
    with pytest.raises(SignInRefused):
        await sign_in


async def test_of_two_changes_of_one_password_at_once_one_is_made(
    accounts: Accounts, alice: Account, engine: AsyncEngine
) -> None:
    """A thief who changes the password in the same moment doesn't overwrite the user's, nor the user the thief's."""
    wanted = [SecretStr("a better horse battery"), SecretStr("a thief's horse battery")]

    async def both_wait() -> None:
        async with engine.connect() as connection:
            assert await connection.scalar(text(_WAITING)) == 2

    async with engine.begin() as ahead:
        await ahead.execute(text("select from auth.account for update"))
        changes = [
            asyncio.create_task(accounts.change_password(alice.id, HORSE, new, address=HOME))
            for new in wanted
        ]
        await eventually(both_wait, seconds=20)

    results = await asyncio.gather(*changes, return_exceptions=True)
    assert sorted(type(one).__name__ for one in results) == ["NoneType", "SignInRefused"]
    assert isinstance(
        await accounts.sign_in(alice.email, wanted[results.index(None)], address=HOME), SignedIn
    )


async def test_as_many_changes_at_once_as_there_are_connections_go_through(
    open_accounts: OpenAccounts, postgres_endpoint: PostgresEndpoint
) -> None:
    """People who are all told to change their passwords do, instead of keeping each other waiting."""
    few = create_async_engine(postgres_endpoint.url(), pool_size=2, max_overflow=0)
    one = await open_accounts(engine=few)
    users = [(await one.accounts.register(f"user-{n}@example.com", HORSE, tenant=ACME)).id for n in range(4)]

    async with within(seconds=20):
        await asyncio.gather(*(one.accounts.disable(user) for user in users))

    await few.dispose()


async def test_a_disabled_account_is_closed_until_it_is_enabled(
    accounts: Accounts, alice: Account, signed_out: SignedOut
) -> None:
    """Who leaves the company is out at once, and back if that was a mistake."""
    await accounts.disable(alice.id)
    await accounts.disable(alice.id)
    with pytest.raises(SignInRefused):
        await accounts.sign_in(alice.email, HORSE, address=HOME)

    await accounts.enable(alice.id)

    assert isinstance(await accounts.sign_in(alice.email, HORSE, address=HOME), SignedIn)
    assert await signed_out() == [alice.id] * 2


@pytest.mark.parametrize(
    "user", ["nobody", "", "a\x00b", "\ud800", "x" * 1_000_000], ids=lambda text: ascii(text[:12])
)
async def test_an_unknown_account_is_named_as_such(accounts: Accounts, user: str) -> None:
    """A mistyped id is an answer, not a crash."""
    for act in (accounts.disable, accounts.enable):
        with pytest.raises(AccountUnknown):
            await act(UserId(user))
    with pytest.raises(AccountUnknown):
        await accounts.change_password(UserId(user), HORSE, HORSE, address=HOME)


async def test_a_password_is_stored_anew_when_the_policy_rose(
    open_accounts: OpenAccounts, alice: Account, engine: AsyncEngine
) -> None:
    """Old accounts get the stronger protection the next time their users come, without noticing."""
    later = await open_accounts(policy=HARDER)

    for _ in range(2):
        await later.accounts.sign_in(alice.email, HORSE, address=HOME)

    async with engine.connect() as connection:
        stored = await connection.scalar(text("select password from auth.account"))
    assert str(stored).startswith(f"$pbkdf2-sha256$i={HARDER.rounds}$")
    assert later.hasher.hashes == 3


async def test_a_sign_in_acts_in_the_tenant_that_is_asked_for(accounts: Accounts, alice: Account) -> None:
    """A consultant with one account chooses in whose books to work; roles say whether they may."""
    signed_in = await accounts.sign_in(alice.email, HORSE, address=HOME, tenant=TenantId("globex"))

    assert isinstance(signed_in, SignedIn)
    assert signed_in.tenant == "globex"
    with pytest.raises(InvalidIdentifier):
        await accounts.sign_in(alice.email, HORSE, address=HOME, tenant=TenantId("a\x00b"))


@pytest.mark.parametrize("password", NO_PASSWORDS.values(), ids=NO_PASSWORDS.keys())
async def test_what_no_account_can_have_as_a_password_is_refused_unseen(
    accounts: Accounts, alice: Account, password: str, engine: AsyncEngine, log: ViolationLog
) -> None:
    """A request made to break the server costs it nothing and changes nothing."""
    with pytest.raises(SignInRefused) as refused:
        await accounts.sign_in(alice.email, SecretStr(password), address=HOME)
    with pytest.raises(PasswordRefused):
        await accounts.register("bob@example.com", SecretStr(password), tenant=ACME)

    assert str(refused.value) == str(SignInRefused())
    assert await log.find() == []
    async with engine.connect() as connection:
        assert await connection.scalar(text("select count(*) from auth.account")) == 1


@pytest.mark.parametrize(
    "address", ["", "a\x00b", "\ud800", "x" * 1_000_000, "fe80::1%eth0"], ids=lambda text: ascii(text[:12])
)
async def test_a_strange_address_is_no_way_around_the_log(
    accounts: Accounts, alice: Account, log: ViolationLog, address: str
) -> None:
    """Who forges where a request comes from is written down all the same."""
    with pytest.raises(SignInRefused):
        await accounts.sign_in(alice.email, WRONG, address=address)

    [violation] = await log.find()
    assert violation.address is not None
    assert len(violation.address) <= 256


async def test_sign_ins_that_find_no_room_count_as_no_attempts(
    open_accounts: OpenAccounts, alice: Account, log: ViolationLog
) -> None:
    """A user who comes in a rush is not locked out by it."""
    one = await open_accounts(waiting=0)

    results = await asyncio.gather(
        *(one.accounts.sign_in(alice.email, HORSE, address=HOME) for _ in range(4)), return_exceptions=True
    )
    for _ in range(4):
        results.append(await one.accounts.sign_in(alice.email, HORSE, address=HOME))

    assert all(isinstance(one, SignedIn | HashingOverloaded) for one in results), results
    assert await log.find() == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("share", [15, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_published_attack_strings_make_an_account_or_nothing(
    open_accounts: OpenAccounts,
    third_party_data: ThirdPartyData,
    engine: AsyncEngine,
    rng: Random,
    share: int,
) -> None:
    """What breaks careless code is an ordinary password here, or is refused and leaves nothing."""
    one = await open_accounts()
    texts = naughty(third_party_data)
    made, answers = 0, []
    for number, said in enumerate(rng.sample(texts, min(share, len(texts)))):
        for email, password in [(f"user-{number}@example.com", said), (said, HORSE.get_secret_value())]:
            try:
                account = await one.accounts.register(email, SecretStr(password), tenant=ACME)
            except (InvalidEmail, PasswordRefused, EmailTaken) as refused:
                answers.append((said, f"{refused} {refused!r}"))
                continue
            made += 1
            signed_in = await one.accounts.sign_in(email, SecretStr(password), address=said)
            assert isinstance(signed_in, SignedIn)
            assert signed_in.user == account.id

    async with engine.connect() as connection:
        assert await connection.scalar(text("select count(*) from auth.account")) == made
    assert not [said for said, answer in answers if len(said) >= 8 and said in answer]


def naughty(data: ThirdPartyData) -> list[str]:
    """Read the published strings that break careless code."""
    texts: list[str] = []
    for file in data.files("bad-inputs", "payloads/*.txt"):
        lines = [line.decode("utf-8", "replace") for line in file.read_bytes().split(b"\n")]
        data.read(file, cases=len(lines))
        texts += lines
    for file in data.files("bad-inputs", "*.json"):
        strings = [one for one in json.loads(file.read_text(encoding="utf-8")) if isinstance(one, str)]
        data.read(file, cases=len(strings))
        texts += strings
    return list(dict.fromkeys(texts))
