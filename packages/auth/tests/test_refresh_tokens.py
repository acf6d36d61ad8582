"""A refresh token works once; a second use is read as theft."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import (
    AccessTokens,
    Grant,
    Kind,
    RefreshPolicy,
    RefreshRefused,
    RefreshToken,
    RefreshTokenExpired,
    RefreshTokenReused,
    RefreshTokenRevoked,
    RefreshTokens,
    RefreshTokenUnknown,
    Revocations,
    Role,
    SessionId,
    SignedIn,
    TokenMalformed,
    TokenPolicy,
    UserId,
    Verifier,
    ViolationLog,
)
from netra_fixtures import Goal, ManualClock, Tier, business_value, eventually

from .conftest import PATIENT, KnownRoles
from .verdicts import refused

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.SECURITY}, impact="a stolen token cannot be used unnoticed"
)

OpenVerifier = Callable[..., Awaitable[Verifier]]
ALICE = UserId("alice")
BACKLOG = {
    "refresh_family": (
        "insert into auth.refresh_family select gen_random_uuid(), 'alice', 'acme', n::text, '{pwd}', :at, :at, :at"
        " from generate_series(1, cast(:number as integer)) as n"
    ),
    "revocation": (
        "insert into auth.revocation (what, subject, at, until, signs_out, made_in)"
        " select 'token', n::text, :at, :at, false, 0 from generate_series(1, cast(:number as integer)) as n"
    ),
}
WAITING = (
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
)


async def test_reusing_a_refresh_token_revokes_its_whole_family(
    refresh_tokens: RefreshTokens, verifier: Verifier, log: ViolationLog, alice: SignedIn
) -> None:
    """Two holders of one token cannot both be the user, so neither stays signed in."""
    first = await refresh_tokens.issue(alice)
    second = await refresh_tokens.rotate(first.refresh_token)
    verifier.verify(second.access_token)

    with pytest.raises(RefreshTokenReused) as caught:
        await refresh_tokens.rotate(first.refresh_token, address="203.0.113.7")

    assert caught.value.family == second.family
    assert not await refresh_tokens.is_live(second.refresh_token)
    with pytest.raises(RefreshTokenRevoked):
        await refresh_tokens.rotate(second.refresh_token)
    [violation] = await log.find(kind=Kind.REFRESH_REUSED)
    assert (violation.user, violation.address) == (ALICE, "203.0.113.7")

    await refused(verifier, second.access_token)


async def test_a_refresh_brings_the_roles_that_hold_now(
    refresh_tokens: RefreshTokens, verifier: Verifier, alice: SignedIn, known_roles: Any
) -> None:
    """Who is made an administrator need not sign in again, and who is no longer one can't keep it."""
    grant = await refresh_tokens.issue(alice)
    known_roles.held[ALICE] = frozenset({Role.ADMIN})

    renewed = await refresh_tokens.rotate(grant.refresh_token)

    assert verifier.verify(grant.access_token).roles == {Role.STANDARD_USER}
    principal = verifier.verify(renewed.access_token)
    assert (principal.roles, principal.session) == ({Role.ADMIN}, grant.session)
    assert (principal.user, principal.methods) == (alice.user, alice.methods)


async def test_a_refresh_token_that_lies_unused_expires(
    refresh_tokens: RefreshTokens, alice: SignedIn, clock: ManualClock
) -> None:
    """A forgotten laptop is signed out after a week."""
    grant = await refresh_tokens.issue(alice)

    clock.advance(timedelta(days=7))

    assert not await refresh_tokens.is_live(grant.refresh_token)
    with pytest.raises(RefreshTokenExpired):
        await refresh_tokens.rotate(grant.refresh_token)


async def test_a_family_ends_at_its_age_however_much_it_is_used(
    refresh_tokens: RefreshTokens, alice: SignedIn, clock: ManualClock, engine: AsyncEngine
) -> None:
    """Once a month the user proves again who they are."""
    grant = await refresh_tokens.issue(alice)
    for _ in range(5):
        clock.advance(timedelta(days=6) - timedelta(seconds=1))
        grant = await refresh_tokens.rotate(grant.refresh_token)
    assert await refresh_tokens.is_live(grant.refresh_token)

    clock.advance(timedelta(seconds=5))

    with pytest.raises(RefreshTokenExpired):
        await refresh_tokens.rotate(grant.refresh_token)
    await refresh_tokens.purge()
    async with engine.connect() as connection:
        assert await connection.scalar(text("select count(*) from auth.refresh_token")) == 0


async def test_a_backlog_is_deleted_step_by_step(
    refresh_tokens: RefreshTokens, revocations: Revocations, engine: AsyncEngine, clock: ManualClock
) -> None:
    """Where nobody tidied up for months, doing so gets on within the deadline instead of starting over for ever.

    Also where PostgreSQL last counted the rows before they were there, and so plans for one.
    """
    async with engine.begin() as connection, engine.connect() as other:
        for table, number in (("refresh_family", 250), ("revocation", 2500)):
            old = await connection.execute(text(BACKLOG[table]), {"number": number, "at": clock.now()})
            assert old.rowcount == number
            await other.execute(text(f"analyze auth.{table}"))
    deleted: list[int] = []
    event.listen(
        engine.sync_engine, "after_cursor_execute", lambda _c, cursor, *_: deleted.append(cursor.rowcount)
    )

    await refresh_tokens.purge()
    await revocations.purge()

    assert [number for number in deleted if number > 0] == [100, 100, 50, 1000, 1000, 500]


async def test_only_the_digest_of_a_refresh_token_is_stored(
    refresh_tokens: RefreshTokens, alice: SignedIn, engine: AsyncEngine
) -> None:
    """Who copies the database can't sign in with it."""
    grant = await refresh_tokens.issue(alice)
    secret = grant.refresh_token.get_secret_value()

    async with engine.connect() as connection:
        rows = (await connection.execute(text("select t::text from auth.refresh_token as t"))).scalars().all()
        digests = (await connection.execute(text("select digest from auth.refresh_token"))).scalars().all()

    assert digests == [hashlib.sha256(secret.encode()).digest()]
    assert secret not in "".join(rows)
    assert secret not in repr(grant) + str(grant)


async def test_a_sign_out_ends_the_refresh_token_and_its_session(
    refresh_tokens: RefreshTokens, alice: SignedIn
) -> None:
    """After signing out nobody goes on with what is left on the machine; other sessions do."""
    grant, other = await refresh_tokens.issue(alice), await refresh_tokens.issue(alice)

    await refresh_tokens.revoke(grant.refresh_token)

    with pytest.raises(RefreshTokenRevoked):
        await refresh_tokens.rotate(grant.refresh_token)
    assert await refresh_tokens.is_live(other.refresh_token)


async def test_a_revoked_session_or_user_can_t_refresh(
    refresh_tokens: RefreshTokens, revocations: Revocations, alice: SignedIn
) -> None:
    """Whoever is signed out by an administrator can't fetch a new token a minute later."""
    one = await refresh_tokens.issue(alice, session=SessionId("one"))
    two = await refresh_tokens.issue(alice, session=SessionId("two"))

    await revocations.revoke_user(ALICE, sign_out=False)
    await revocations.revoke_session(SessionId("one"))
    assert not await refresh_tokens.is_live(one.refresh_token)
    assert await refresh_tokens.is_live(two.refresh_token)

    await revocations.revoke_user(ALICE)
    assert not await refresh_tokens.is_live(two.refresh_token)


async def test_a_revocation_during_a_refresh_covers_the_new_token(
    refresh_tokens: RefreshTokens, revocations: Revocations, verifier: Verifier, alice: SignedIn,
    clock: ManualClock, known_roles: Any,
) -> None:  # fmt: skip
    """A token with roles that were just taken away is not accepted, even if it was being made just then."""
    grant = await refresh_tokens.issue(alice)
    clock.advance(timedelta(seconds=1))
    ask = known_roles.roles

    async def roles_that_change(*who: str) -> frozenset[Role]:
        held: frozenset[Role] = await ask(*who)
        clock.advance(timedelta(seconds=1))
        await revocations.revoke_user(ALICE, sign_out=False)
        clock.advance(timedelta(seconds=1))
        return held

    known_roles.roles = roles_that_change
    renewed = await refresh_tokens.rotate(grant.refresh_token)

    await refused(verifier, renewed.access_token)


@pytest.mark.parametrize(
    "held",
    [
        "select from auth.refresh_family for update",
        "select pg_advisory_xact_lock(hashtextextended('auth alice', 4817))",
    ],
    ids=["by a refresh", "by a sign-in"],
)
async def test_a_sign_out_everywhere_covers_what_is_issued_while_it_waits(
    refresh_tokens: RefreshTokens, access_tokens: AccessTokens, revocations: Revocations, verifier: Verifier,
    alice: SignedIn, clock: ManualClock, engine: AsyncEngine, held: str,
) -> None:  # fmt: skip
    """A token that a thief fetches in the very moment of the sign-out is as dead as those before."""
    grant = await refresh_tokens.issue(alice)

    async def waits() -> None:
        async with engine.connect() as connection:
            assert await connection.scalar(text(WAITING)) == 1

    async with engine.begin() as ahead:
        await ahead.execute(text(held))
        sign_out = asyncio.create_task(revocations.revoke_user(ALICE))
        await eventually(waits, seconds=20)
        clock.advance(timedelta(milliseconds=5))
        late = access_tokens.sign(alice, session=grant.session, roles=())
    await sign_out

    await refused(verifier, late.token)


async def test_a_sign_in_from_before_a_sign_out_everywhere_gets_no_token(
    refresh_tokens: RefreshTokens, revocations: Revocations, alice: SignedIn, clock: ManualClock
) -> None:
    """Who signed in with a password in the moment in which it was changed is not let in with it."""
    clock.advance(timedelta(seconds=1))
    await revocations.revoke_user(ALICE, sign_out=False)
    kept = await refresh_tokens.issue(alice)
    await revocations.revoke_user(ALICE)

    with pytest.raises(RefreshTokenRevoked):
        await refresh_tokens.issue(alice)

    assert not await refresh_tokens.is_live(kept.refresh_token)
    again = alice.model_copy(update={"at": clock.now()})
    assert await refresh_tokens.is_live((await refresh_tokens.issue(again)).refresh_token)


async def test_a_sign_in_from_before_what_is_remembered_gets_no_token(
    refresh_tokens: RefreshTokens, revocations: Revocations, alice: SignedIn, clock: ManualClock,
    token_policy: TokenPolicy,
) -> None:  # fmt: skip
    """Nobody waits with a sign-in until the sign-out that ended it is forgotten."""
    clock.advance(timedelta(seconds=1))
    await revocations.revoke_user(ALICE)
    clock.advance(token_policy.kept)
    await revocations.purge()

    with pytest.raises(RefreshTokenExpired):
        await refresh_tokens.issue(alice)


async def test_a_session_that_was_ended_gets_no_token(
    refresh_tokens: RefreshTokens, revocations: Revocations, alice: SignedIn, clock: ManualClock
) -> None:
    """A session doesn't come back to life once it is forgotten that it was ended."""
    session = SessionId("one")
    await refresh_tokens.issue(alice, session=session)
    await revocations.revoke_session(session)
    clock.advance(timedelta(seconds=1))
    again = alice.model_copy(update={"at": clock.now()})

    with pytest.raises(RefreshTokenRevoked):
        await refresh_tokens.issue(again, session=session)

    assert await refresh_tokens.is_live((await refresh_tokens.issue(again)).refresh_token)


async def race(refresh_tokens: RefreshTokens, alice: SignedIn, at_once: int) -> None:
    """Trade one token many times at once, and hold what came of it against the rule."""
    grant = await refresh_tokens.issue(alice)

    outcomes = await asyncio.gather(
        *(refresh_tokens.rotate(grant.refresh_token) for _ in range(at_once)), return_exceptions=True
    )

    won = [outcome for outcome in outcomes if isinstance(outcome, Grant)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, RefreshTokenReused)]
    assert (len(won), len(lost)) == (1, at_once - 1)
    assert not await refresh_tokens.is_live(won[0].refresh_token)


@pytest.mark.parametrize("races", [10, pytest.param(500, marks=pytest.mark.soak)])
async def test_raced_refreshes_have_one_winner_and_end_the_family(
    roomy_engine: AsyncEngine, access_tokens: AccessTokens, known_roles: KnownRoles, revocations: Revocations,
    clock: ManualClock, alice: SignedIn, races: int,
) -> None:  # fmt: skip
    """However a thief times it, he and the user never both get a token, and theft is noticed."""
    refresh_tokens = RefreshTokens(
        engine=roomy_engine, access_tokens=access_tokens, roles=known_roles, revocations=revocations,
        clock=clock, policy=RefreshPolicy(deadline=PATIENT),
    )  # fmt: skip
    for _ in range(races):
        await race(refresh_tokens, alice, at_once=20)


@pytest.mark.parametrize(
    "text",
    ["", "short", "x" * 1_000_000, "x" * 42 + "\0", "x" * 42 + "\ud800", "é" * 43, "x" * 43 + "\n"],
    ids=["empty", "short", "1 MB", "nul", "surrogate", "not ASCII", "line feed"],
)
async def test_what_is_no_refresh_token_is_unknown(
    refresh_tokens: RefreshTokens, engine: AsyncEngine, text: str
) -> None:
    """Nonsense opens nothing, and is neither sent to a store nor shown back."""
    with pytest.raises(RefreshTokenUnknown) as caught:
        await refresh_tokens.rotate(RefreshToken(text))

    assert len(str(caught.value)) < 100
    assert not await refresh_tokens.is_live(text)
    with pytest.raises(RefreshRefused):
        await refresh_tokens.revoke("A" * 43)


async def test_a_token_is_taken_as_any_secret_and_nothing_else_is(
    refresh_tokens: RefreshTokens, open_verifier: OpenVerifier, alice: SignedIn
) -> None:
    """What a web framework read as a secret is passed on as it is; what is no text at all is refused as a token."""
    verifier = await open_verifier(remembered=0)
    grant = await refresh_tokens.issue(alice)

    for _ in range(2):
        assert verifier.verify(SecretStr(grant.access_token.get_secret_value())).user == ALICE
    renewed = await refresh_tokens.rotate(SecretStr(grant.refresh_token.get_secret_value()))

    assert renewed.family == grant.family
    nothing: Any
    for nothing in (None, b"A" * 43, 7):
        with pytest.raises(RefreshTokenUnknown):
            await refresh_tokens.rotate(nothing)
        with pytest.raises(TokenMalformed):
            verifier.verify(nothing)
