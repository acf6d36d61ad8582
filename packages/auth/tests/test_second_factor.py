"""A second factor proves something once, to the right account, and stays a secret."""

import asyncio
import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretBytes, SecretStr
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from netra_auth import (
    Account,
    Accounts,
    AccountUnknown,
    Challenge,
    ChallengeRefused,
    Enrolment,
    GuessingPolicy,
    Hash,
    Kind,
    Limit,
    Method,
    Principal,
    RecoveryCode,
    Revocations,
    SecondFactorNeeded,
    SecondFactorRefused,
    SecondFactors,
    SecondFactorState,
    SecondFactorUnreadable,
    SessionId,
    SignedIn,
    SignInRefused,
    StoreUnavailable,
    TenantId,
    TokenExpired,
    TokenId,
    TokenRevoked,
    Totp,
    UserId,
    ViolationLog,
    require_recent,
)
from netra_fixtures import (
    Cut,
    Goal,
    HalfOpen,
    ManualClock,
    RedisEndpoint,
    ServiceLink,
    Tier,
    business_value,
    within,
)

pytestmark = business_value(
    tier=Tier.EARLY, goals={Goal.SECURITY}, impact="a stolen password alone opens no account"
)
OpenAccounts = Callable[..., Any]
CodeOf = Callable[[Enrolment], SecretStr]
STEP, HOME = timedelta(seconds=30), "192.0.2.7"
HORSE = SecretStr("correct horse battery")
NO_CODES = {
    "empty": "",
    "five digits": "12345",
    "seven digits": "1234567",
    "letters": "abcdef",
    "a sign": "+12345",
    "another script's digits": "\N{ARABIC-INDIC DIGIT ONE}" * 6,
    "wide digits": "\N{FULLWIDTH DIGIT ONE}" * 6,
    "NUL": "12345\x00",
    "a lone surrogate": "12345\ud800",
    "a right-to-left mark": "\u200f12345",
    "a line break": "123456\n",
    "huge": "1" * 1_000_000,
    "SQL": "' or '1'='1",
    "not quite a recovery code": "A" * 23 + "=",
    "no recovery code": "A" * 24,
}


@pytest.fixture
async def alice(accounts: Accounts) -> Account:
    """Somebody with an account."""
    return await accounts.register("alice@example.com", HORSE, tenant=TenantId("acme"))


@pytest.fixture
async def app(factors: SecondFactors, alice: Account) -> Enrolment:
    """Alice's authenticator app, which she has yet to confirm."""
    return await factors.enrol(alice.id)


@pytest.fixture
async def papers(
    factors: SecondFactors, alice: Account, app: Enrolment, code_of: CodeOf, clock: ManualClock
) -> tuple[RecoveryCode, ...]:
    """Alice's recovery codes, which she got half a minute ago."""
    papers = await factors.confirm(alice.id, code_of(app))
    clock.advance(STEP)
    return papers


async def halfway(accounts: Accounts) -> Challenge:
    """Give Alice's password."""
    asked = await accounts.sign_in("alice@example.com", HORSE, address=HOME)
    assert isinstance(asked, SecondFactorNeeded)
    return asked.challenge


@pytest.mark.parametrize("hash_", Hash)
@pytest.mark.parametrize("digits", [6, 7, 8])
async def test_any_app_that_keeps_to_the_standard_will_do(
    open_accounts: OpenAccounts, alice: Account, code_of: CodeOf, hash_: Hash, digits: int
) -> None:
    """What another implementation makes of the picture is accepted."""
    one = await open_accounts(totp=Totp(hash=hash_, digits=digits))
    app = await one.factors.enrol(alice.id)

    await one.factors.confirm(alice.id, code_of(app))

    assert await one.factors.is_enrolled(alice.id)


async def test_a_secret_counts_only_once_it_is_confirmed(
    accounts: Accounts, factors: SecondFactors, alice: Account, app: Enrolment, code_of: CodeOf
) -> None:
    """Who closes the page before the app works is not shut out."""
    with pytest.raises(SecondFactorState) as unconfirmed:
        await factors.verify(alice.id, code_of(app))
    assert isinstance(await accounts.sign_in(alice.email, HORSE, address=HOME), SignedIn)
    again = await factors.enrol(alice.id)
    with pytest.raises(SecondFactorRefused):
        await factors.confirm(alice.id, code_of(app))

    await factors.confirm(alice.id, code_of(again))

    with pytest.raises(SecondFactorState) as enrolled:
        await factors.enrol(alice.id)
    with pytest.raises(SecondFactorState):
        await factors.confirm(alice.id, code_of(again))
    assert (unconfirmed.value.enrolled, enrolled.value.enrolled) == (False, True)


@pytest.mark.parametrize("at_once", [40, pytest.param(200, marks=pytest.mark.soak)])
@pytest.mark.parametrize("which", ["app", "paper"])
async def test_of_many_at_once_one_spends_a_code(
    open_accounts: OpenAccounts, alice: Account, app: Enrolment, papers: tuple[RecoveryCode, ...],
    code_of: CodeOf, log: ViolationLog, which: str, at_once: int,
) -> None:  # fmt: skip
    """A code that was read over a shoulder, and is sent in the same moment, works for one of the two."""
    lenient = GuessingPolicy(
        account=Limit(failures=1000, first_delay=timedelta(seconds=1)), deadline=timedelta(seconds=30)
    )
    processes = [(await open_accounts(guessing=lenient)).factors for _ in range(2)]
    code = code_of(app) if which == "app" else papers[0]

    results = await asyncio.gather(
        *(processes[n % 2].verify(alice.id, code) for n in range(at_once)), return_exceptions=True
    )

    spent = [one for one in results if isinstance(one, Method)]
    assert spent == [Method.ONE_TIME_PASSWORD if which == "app" else Method.RECOVERY_CODE]
    assert all(isinstance(one, SecondFactorRefused | Method) for one in results)
    assert {one.kind for one in await log.find(size=1000)} == {Kind.REPLAYED_CODE}


async def test_a_phone_that_is_a_step_off_works_and_time_never_runs_back(
    factors: SecondFactors,
    alice: Account,
    app: Enrolment,
    papers: object,
    code_of: CodeOf,
    clock: ManualClock,
) -> None:
    """A slow clock is forgiven; once a later code was used, an earlier one is not."""
    now = clock.now()
    clock.set(now + STEP)
    fast = code_of(app)
    clock.set(now + 2 * STEP)
    too_fast = code_of(app)
    clock.set(now)
    with pytest.raises(SecondFactorRefused):
        await factors.verify(alice.id, too_fast)

    assert await factors.verify(alice.id, fast) is Method.ONE_TIME_PASSWORD

    with pytest.raises(SecondFactorRefused):
        await factors.verify(alice.id, code_of(app))


@pytest.mark.parametrize("code", NO_CODES.values(), ids=NO_CODES.keys())
async def test_what_is_no_code_is_wrong_and_nothing_worse(
    factors: SecondFactors, alice: Account, papers: object, log: ViolationLog, code: str
) -> None:
    """Whatever is typed into the field for the code, the answer is that it is wrong."""
    with pytest.raises(SecondFactorRefused) as refused:
        await factors.verify(alice.id, SecretStr(code), address=HOME)

    [violation] = await log.find()
    assert str(refused.value) == str(SecondFactorRefused())
    assert (violation.kind, violation.user) == (Kind.WRONG_CODE, alice.id)
    assert len(code) < 5 or code not in violation.model_dump_json()


async def test_a_recovery_code_is_read_as_people_write(
    factors: SecondFactors, alice: Account, papers: tuple[RecoveryCode, ...]
) -> None:
    """Small letters and other gaps are no reason to shut somebody out who has lost the phone."""
    typed = papers[0].get_secret_value().lower().replace("-", " ")

    assert await factors.verify(alice.id, SecretStr(typed)) is Method.RECOVERY_CODE


async def test_codes_are_guessed_at_no_more_than_the_limit(
    accounts: Accounts, factors: SecondFactors, alice: Account, app: Enrolment, papers: object,
    code_of: CodeOf, clock: ManualClock, log: ViolationLog,
) -> None:  # fmt: skip
    """Who has the password can't try all the codes, also not by starting anew again and again."""
    challenges = [await halfway(accounts) for _ in range(7)]
    right = code_of(app).get_secret_value()
    wrong = SecretStr(f"{(int(right) + 5) % 10**6:06}")

    for challenge in challenges:
        with pytest.raises(SecondFactorRefused):
            await accounts.complete(challenge, wrong, address=HOME)

    with pytest.raises(SecondFactorRefused):
        await factors.verify(alice.id, code_of(app))
    kinds = [one.kind for one in reversed(await log.find())]
    assert kinds == [*[Kind.WRONG_CODE] * 4, Kind.LOCKOUT, *[Kind.LOCKED] * 3]
    clock.advance(STEP)
    assert await factors.verify(alice.id, code_of(app)) is Method.ONE_TIME_PASSWORD


async def test_neither_secrets_nor_codes_can_be_read_from_the_stores(
    accounts: Accounts, app: Enrolment, papers: tuple[RecoveryCode, ...], engine: AsyncEngine,
    redis_client: Redis, namespace: str,
) -> None:  # fmt: skip
    """A stolen backup makes no codes."""
    challenge = await halfway(accounts)
    async with engine.connect() as connection:
        rows = await connection.execute(
            text(
                "select f::text, c::text from auth.second_factor f join auth.recovery_code c using (account_id)"
            )
        )
        kept = str(rows.fetchall()).lower()
    for key in await redis_client.keys(f"{namespace}:*"):
        assert await redis_client.pttl(key) > 0
        kept += str(key) + str(await redis_client.hgetall(key))
    secret = base64.b32decode(app.secret.get_secret_value())
    papers_raw = [base64.b32decode(one.get_secret_value().replace("-", "")) for one in papers]

    assert not [one for one in (secret, *papers_raw) if one.hex() in kept]
    assert challenge.get_secret_value() not in kept
    assert app.secret.get_secret_value() not in f"{app!r} {papers!r} {challenge!r}"
    assert papers[0].get_secret_value() not in f"{papers!r} {papers[0]}"
    assert all(len(one) * 8 >= 112 for one in papers_raw)


async def test_a_secret_opens_only_by_its_key_and_for_its_account(
    accounts: Accounts, factors: SecondFactors, open_accounts: OpenAccounts, alice: Account, app: Enrolment,
    papers: object, code_of: CodeOf, engine: AsyncEngine,
) -> None:  # fmt: skip
    """Who can write to the database can't give somebody else's account a factor of their own."""
    bob = await accounts.register("bob@example.com", HORSE, tenant=TenantId("acme"))
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "insert into auth.second_factor (account_id, sealed, enrolled_at, confirmed_at)"
                " select :bob, sealed, enrolled_at, confirmed_at from auth.second_factor"
            ),
            {"bob": bob.id},
        )
    other_key = await open_accounts(key=b"x" * 32)

    for unable, user in [(factors, bob.id), (other_key.factors, alice.id)]:
        with pytest.raises(SecondFactorUnreadable):
            await unable.verify(user, code_of(app))


def test_a_key_of_another_length_stops_the_start() -> None:
    """A key that was cut short by mistake seals nothing."""
    nowhere = create_async_engine("postgresql+asyncpg://nowhere.invalid/")

    with pytest.raises(ValueError, match="32 bytes"):
        SecondFactors(
            engine=nowhere, redis=Redis(), namespace="n", key=SecretBytes(b"k" * 16), issuer="Netra"
        )


async def test_disabling_needs_a_fresh_code(
    accounts: Accounts, factors: SecondFactors, alice: Account, papers: tuple[RecoveryCode, ...]
) -> None:
    """Who finds an open screen can't take the second factor away."""
    with pytest.raises(SecondFactorRefused):
        await factors.disable(alice.id, SecretStr("000000"))
    assert await factors.is_enrolled(alice.id)

    await factors.disable(alice.id, papers[0])

    assert isinstance(await accounts.sign_in(alice.email, HORSE, address=HOME), SignedIn)
    with pytest.raises(SecondFactorState):
        await factors.verify(alice.id, papers[1])


async def test_a_challenge_completes_one_sign_in(
    accounts: Accounts, papers: tuple[RecoveryCode, ...], app: Enrolment, code_of: CodeOf
) -> None:
    """What was caught on the way can't be used again, not even at the same moment with another code."""
    challenge = await halfway(accounts)

    results = await asyncio.gather(
        *(accounts.complete(challenge, code, address=HOME) for code in (code_of(app), *papers[:3])),
        return_exceptions=True,
    )

    assert sorted(type(one).__name__ for one in results) == [*["ChallengeRefused"] * 3, "SignedIn"]
    with pytest.raises(ChallengeRefused):
        await accounts.complete(challenge, papers[4], address=HOME)


async def test_a_challenge_ends_after_minutes_or_a_few_wrong_codes(
    open_accounts: OpenAccounts, accounts: Accounts, papers: tuple[RecoveryCode, ...], clock: ManualClock
) -> None:
    """A sign-in left half done on a shared computer is not completed by the next person."""
    strict = (await open_accounts(attempts=2)).accounts
    old, tried = await halfway(accounts), await halfway(strict)
    for _ in range(2):
        with pytest.raises(SecondFactorRefused):
            await strict.complete(tried, SecretStr("000000"), address=HOME)
    with pytest.raises(ChallengeRefused):
        await strict.complete(tried, papers[0], address=HOME)

    clock.advance(timedelta(minutes=5))

    with pytest.raises(ChallengeRefused):
        await accounts.complete(old, papers[0], address=HOME)


@pytest.mark.parametrize(
    "challenge", ["", "A" * 43, "\x00", "\ud800", "*", "x" * 1_000_000], ids=lambda text: ascii(text[:9])
)
async def test_what_is_no_challenge_is_refused_as_an_old_one_is(
    accounts: Accounts, papers: tuple[RecoveryCode, ...], challenge: str
) -> None:
    """Nothing that is made up stands for a password."""
    with pytest.raises(ChallengeRefused) as refused:
        await accounts.complete(SecretStr(challenge), papers[0], address=HOME)

    assert str(refused.value) == str(ChallengeRefused())


async def test_a_half_done_sign_in_ends_with_the_password_or_the_account(
    accounts: Accounts, alice: Account, papers: tuple[RecoveryCode, ...]
) -> None:
    """Who changes the password while a thief waits at the second step has shut the thief out."""
    before_change = await halfway(accounts)
    await accounts.change_password(alice.id, HORSE, SecretStr("a better horse"), address=HOME)
    with pytest.raises(SignInRefused):
        await accounts.complete(before_change, papers[0], address=HOME)
    await accounts.change_password(alice.id, SecretStr("a better horse"), HORSE, address=HOME)
    before_end = await halfway(accounts)

    await accounts.disable(alice.id)

    with pytest.raises(SignInRefused):
        await accounts.complete(before_end, papers[1], address=HOME)


async def test_stepping_up_proves_who_somebody_is_anew(
    factors: SecondFactors, alice: Account, papers: tuple[RecoveryCode, ...], clock: ManualClock
) -> None:
    """Before something that can't be undone, the user shows the phone once more, and goes on."""
    principal = Principal(
        user=alice.id, tenant=TenantId("globex"), session=SessionId("s"), token=TokenId("t"),
        roles=frozenset(), methods=frozenset({Method.PASSWORD}), authenticated_at=clock.now(),
        issued_at=clock.now(), expires_at=clock.now() + timedelta(hours=1),
    )  # fmt: skip
    clock.advance(timedelta(hours=1))

    proved = await factors.step_up(principal, papers[0], address=HOME)

    assert (proved.user, proved.tenant, proved.at) == (alice.id, "globex", clock.now())
    after = principal.model_copy(update={"methods": proved.methods, "authenticated_at": proved.at})
    require_recent(after, within=timedelta(minutes=5), now=clock.now())


@pytest.mark.parametrize("end", ["account", "user", "session", "token", "time"])
async def test_nobody_steps_up_on_what_is_over(
    accounts: Accounts, factors: SecondFactors, alice: Account, papers: tuple[RecoveryCode, ...],
    clock: ManualClock, revocations: Revocations, end: str,
) -> None:  # fmt: skip
    """A connection that was open before its user was shut out is no way back in."""
    principal = Principal(
        user=alice.id, tenant=alice.tenant, session=SessionId("s"), token=TokenId("t"), roles=frozenset(),
        methods=frozenset({Method.PASSWORD}), authenticated_at=clock.now(), issued_at=clock.now(),
        expires_at=clock.now() + timedelta(minutes=10),
    )  # fmt: skip
    clock.advance(timedelta(seconds=1))
    match end:
        case "account":
            await accounts.disable(alice.id)
        case "user":
            await revocations.revoke_user(alice.id)
        case "session":
            await revocations.revoke_session(principal.session)
        case "token":
            await revocations.revoke_token(principal.token)
        case _:
            clock.advance(timedelta(minutes=10))

    with pytest.raises(TokenExpired if end == "time" else TokenRevoked):
        await factors.step_up(principal, papers[0], address=HOME)

    assert await factors.verify(alice.id, papers[0]) is Method.RECOVERY_CODE


async def test_nobody_enrols_for_an_account_that_is_not_there(factors: SecondFactors) -> None:
    """A mistyped id is an answer, not a crash."""
    for user in ("nobody", "a\x00b", "\ud800", ""):
        with pytest.raises(AccountUnknown):
            await factors.enrol(UserId(user))
        with pytest.raises(SecondFactorState):
            await factors.verify(UserId(user), SecretStr("000000"))
        assert not await factors.is_enrolled(UserId(user))


@pytest.mark.parametrize("fault", [Cut(), HalfOpen()], ids=["cut", "half-open"])
async def test_without_redis_no_code_is_tried(
    open_accounts: OpenAccounts, alice: Account, app: Enrolment, papers: tuple[RecoveryCode, ...],
    code_of: CodeOf, linked_redis: Redis, redis_link: ServiceLink[RedisEndpoint], fault: Cut | HalfOpen,
) -> None:  # fmt: skip
    """Where guesses can't be counted, none is made, and the code is still good afterwards."""
    one = await open_accounts(redis=linked_redis, redis_within=timedelta(seconds=1))

    async with redis_link.fault(fault), within(seconds=4):
        with pytest.raises(StoreUnavailable) as unavailable:
            await one.factors.verify(alice.id, papers[0])

    assert unavailable.value.store == "Redis"
    assert await one.factors.verify(alice.id, papers[0]) is Method.RECOVERY_CODE
