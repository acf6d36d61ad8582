"""A token that was revoked opens nothing from then on, in any process."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import (
    FollowPolicy,
    InvalidIdentifier,
    Kind,
    Revocations,
    SessionId,
    SignedIn,
    SignedToken,
    TokenPolicy,
    TokenRevoked,
    UserId,
    Verifier,
    ViolationLog,
)
from netra_fixtures import (
    Cut,
    Goal,
    HalfOpen,
    ManualClock,
    Program,
    RedisEndpoint,
    ServiceLink,
    Tier,
    business_value,
    eventually,
    within,
)

from .verdicts import accepted, refused

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.SECURITY}, impact="a stolen access token is worthless once it is revoked"
)

Sign = Callable[..., SignedToken]
OpenVerifier = Callable[..., Awaitable[Verifier]]
HOUR = timedelta(hours=1)
TOLD_ONLY = FollowPolicy(poll_every=HOUR, record_trust=2 * HOUR, trust=HOUR, deadline=timedelta(seconds=30))
WARY = FollowPolicy(trust=timedelta(seconds=1), deadline=timedelta(seconds=2))
FAULTS = pytest.mark.parametrize("fault", [Cut(), HalfOpen()], ids=["cut", "half-open"])


async def test_another_process_hears_of_a_revocation(
    revocations: Revocations, another_process: Callable[[SignedToken], Awaitable[Program]], signed: Sign
) -> None:
    """The server that a stolen token is shown to is seldom the one where it was revoked."""
    token = signed()
    process = await another_process(token)

    async with within(seconds=30):
        assert await process.stdout.readline() == b"alice\n"
        await revocations.revoke_token(token.principal.token)
        heard = await process.stdout.readline()

    assert heard == b"TokenRevoked\n"


async def test_a_revoked_token_is_refused_and_its_neighbours_are_not(
    open_verifier: OpenVerifier, revocations: Revocations, signed: Sign
) -> None:
    """Signing one device out leaves the user's other devices alone."""
    verifier = await open_verifier(following=TOLD_ONLY)
    revoked, sibling, elsewhere = signed(), signed(), signed(session="session-2")
    verifier.verify(revoked.token)

    await revocations.revoke_token(revoked.principal.token)
    await refused(verifier, revoked.token)
    assert verifier.verify(sibling.token) == sibling.principal

    await revocations.revoke_session(SessionId("session-1"))
    await refused(verifier, sibling.token)
    assert verifier.verify(elsewhere.token) == elsewhere.principal


async def test_a_revoked_token_that_comes_again_is_on_record_with_its_user(
    open_verifier: OpenVerifier, revocations: Revocations, signed: Sign, log: ViolationLog
) -> None:
    """Who looks into a stolen token asks first whose it was."""
    verifier, token = await open_verifier(following=TOLD_ONLY), signed()
    await revocations.revoke_token(token.principal.token)
    await refused(verifier, token.token)

    async def on_record() -> None:
        violations = await log.find(user=token.principal.user, kind=Kind.REVOKED_TOKEN)
        assert [one.tenant for one in violations] == [token.principal.tenant]

    await eventually(on_record, seconds=10)


async def test_a_user_is_revoked_up_to_the_moment_and_not_beyond(
    open_verifier: OpenVerifier, revocations: Revocations, signed: Sign, clock: ManualClock, alice: SignedIn
) -> None:
    """After a change of password every earlier token is dead, and the one issued a microsecond later is not."""
    verifier = await open_verifier(following=TOLD_ONLY)
    bob = signed(alice.model_copy(update={"user": UserId("bob")}))
    before = signed()

    await revocations.revoke_user(UserId("alice"))
    clock.advance(timedelta(microseconds=1))
    after = signed()
    await refused(verifier, before.token)

    assert verifier.verify(after.token) == after.principal
    assert verifier.verify(bob.token) == bob.principal


async def test_a_revocation_that_was_made_before_the_verifier_began_is_known_to_it(
    open_verifier: OpenVerifier, revocations: Revocations, signed: Sign
) -> None:
    """A server that is restarted has not forgotten who was signed out."""
    token = signed()
    await revocations.revoke_token(token.principal.token)

    verifier = await open_verifier(following=TOLD_ONLY)

    with pytest.raises(TokenRevoked):
        verifier.verify(token.token)


@FAULTS
async def test_a_lost_announcement_is_made_up_for(
    open_verifier: OpenVerifier,
    signed: Sign,
    engine: AsyncEngine,
    linked_redis: Redis,
    redis_link: ServiceLink[RedisEndpoint],
    namespace: str,
    token_policy: TokenPolicy,
    clock: ManualClock,
    fault: Cut | HalfOpen,
) -> None:
    """Who revokes may have lost Redis in that moment; the record tells the verifiers all the same."""
    verifier = await open_verifier()
    cut_off = Revocations(
        engine=engine, redis=linked_redis, namespace=namespace, policy=token_policy, clock=clock
    )
    token = signed()

    async with redis_link.fault(fault), within(seconds=10):
        await cut_off.revoke_token(token.principal.token)
        await refused(verifier, token.token)


async def test_a_revocation_that_commits_late_is_not_missed(
    open_verifier: OpenVerifier,
    revocations: Revocations,
    signed: Sign,
    engine: AsyncEngine,
    clock: ManualClock,
) -> None:
    """A transaction that was open while the verifier read the record is read the next time."""
    late, token, later = signed(), signed(), signed()
    written = text(
        "insert into auth.revocation (what, subject, at, until, signs_out, made_in)"
        " values ('token', :subject, :at, :until, false, pg_current_xact_id()::text::bigint)"
    )
    verifier = await open_verifier()

    async with engine.begin() as connection:
        values = {"subject": late.principal.token, "at": clock.now(), "until": clock.now() + HOUR}
        await connection.execute(written, values)
        await revocations.revoke_token(token.principal.token)
        await refused(verifier, token.token)
        async with engine.begin() as silent:  # not announced: the verifier has read the record past `late`
            await silent.execute(written, {**values, "subject": later.principal.token})
        await refused(verifier, later.token)

    await refused(verifier, late.token)


async def test_a_revocation_is_kept_until_its_tokens_have_expired(
    revocations: Revocations, signed: Sign, engine: AsyncEngine, clock: ManualClock, token_policy: TokenPolicy
) -> None:
    """The record holds what still matters, and nothing that is forgotten comes to life again."""
    count = text("select count(*) from auth.revocation")
    await revocations.revoke_token(signed().principal.token)

    clock.advance(token_policy.lifetime + token_policy.leeway)
    await revocations.purge()
    async with engine.connect() as connection:
        assert await connection.scalar(count) == 1

    clock.advance(token_policy.kept)
    await revocations.purge()
    async with engine.connect() as connection:
        assert await connection.scalar(count) == 0


async def test_a_verifier_forgets_what_no_longer_matters(
    open_verifier: OpenVerifier, revocations: Revocations, signed: Sign, clock: ManualClock,
    token_policy: TokenPolicy,
) -> None:  # fmt: skip
    """What a process remembers of revocations grows with the life of a token, and not with its own."""
    verifier = await open_verifier()
    await revocations.revoke_session(SessionId("session-1"))
    await refused(verifier, signed().token)
    clock.advance(token_policy.kept)
    token = signed()

    await accepted(verifier, token.token)


@pytest.mark.parametrize(
    "subject", ["", "\0", "\ud800", "x" * 1_000_000], ids=["empty", "nul", "surrogate", "1 MB"]
)
async def test_what_is_no_identifier_is_refused_before_any_store_sees_it(
    revocations: Revocations, engine: AsyncEngine, subject: str
) -> None:
    """A request that names nonsense writes nothing, and is not shown back."""
    with pytest.raises(InvalidIdentifier) as caught:
        await revocations.revoke_user(UserId(subject))

    assert len(str(caught.value)) < 1000
    async with engine.connect() as connection:
        assert await connection.scalar(text("select count(*) from auth.revocation")) == 0


@pytest.mark.parametrize("decoding", [False, True], ids=["bytes", "text"])
async def test_a_stranger_s_message_on_the_channel_changes_nothing(
    open_verifier: OpenVerifier, revocations: Revocations, signed: Sign, redis_client: Redis,
    redis_endpoint: RedisEndpoint, namespace: str, *, decoding: bool,
) -> None:  # fmt: skip
    """What can't be read as an announcement is passed over, and the next one is heard, also by a client for text."""
    client = Redis.from_url(redis_endpoint.url, decode_responses=decoding)
    verifier = await open_verifier(following=TOLD_ONLY, redis=client)
    token, other = signed(), signed()

    await redis_client.publish(f"{namespace}:revoked", b"\xff{]")
    await revocations.revoke_token(token.principal.token)
    await refused(verifier, token.token)

    assert verifier.verify(other.token) == other.principal
    await client.aclose()
