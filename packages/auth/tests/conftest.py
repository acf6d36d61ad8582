"""What the tests of auth share: the parts of one installation, on the test's own services."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from hypothesis import HealthCheck, settings
from pydantic import SecretBytes, SecretStr
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import (
    Access,
    AccessTokens,
    Accounts,
    Enrolment,
    FollowPolicy,
    GuessingPolicy,
    KeyRing,
    Limit,
    Method,
    PasswordHasher,
    PasswordPolicy,
    Principal,
    RefreshPolicy,
    RefreshTokens,
    Revocations,
    Role,
    SecondFactors,
    SessionId,
    SignedIn,
    SignedToken,
    SigningKey,
    SignInPolicy,
    TenantId,
    TokenId,
    TokenPolicy,
    Totp,
    UserId,
    Verifier,
    ViolationLog,
)
from netra_fixtures import (
    ManualClock,
    PostgresEndpoint,
    Program,
    RedisEndpoint,
    StartProgram,
)

PATIENT = timedelta(seconds=30)  # a busy machine is no outage
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # a slow example is no failure there either
FOLLOWING = FollowPolicy(trust=PATIENT, record_trust=2 * PATIENT, deadline=PATIENT)


@pytest.fixture
async def roomy_engine(postgres_endpoint: PostgresEndpoint) -> AsyncIterator[AsyncEngine]:
    """An engine that keeps a connection for each of twenty who race, where the usual one opens most of them anew."""
    engine = postgres_endpoint.engine(pool_size=20)
    yield engine
    await engine.dispose()


@pytest.fixture
def log(engine: AsyncEngine) -> ViolationLog:
    """The log of violations."""
    return ViolationLog(engine=engine, deadline=PATIENT)


class KnownRoles:
    """Roles as a test sets them; standard users otherwise."""

    def __init__(self) -> None:
        self.held: dict[UserId, frozenset[Role]] = {}

    async def roles(self, user: UserId, tenant: TenantId) -> frozenset[Role]:
        """Return what was set."""
        return self.held.get(user, frozenset({Role.STANDARD_USER}))


@pytest.fixture
def known_roles() -> KnownRoles:
    """The roles that refresh tokens look up."""
    return KnownRoles()


@pytest.fixture
def token_policy() -> TokenPolicy:
    """Tokens that live for ten minutes."""
    return TokenPolicy(issuer="https://auth.example.com", audience="netra", lifetime=timedelta(minutes=10))


@pytest.fixture
def keys() -> KeyRing:
    """A ring with a new key for EdDSA."""
    return KeyRing(SigningKey.generate())


@pytest.fixture
def access_tokens(keys: KeyRing, token_policy: TokenPolicy, clock: ManualClock) -> AccessTokens:
    """What signs access tokens."""
    return AccessTokens(keys=keys, policy=token_policy, clock=clock)


@pytest.fixture
def alice(clock: ManualClock) -> SignedIn:
    """Somebody who has just signed in."""
    return SignedIn(
        user=UserId("alice"), tenant=TenantId("acme"), methods=frozenset({Method.PASSWORD}), at=clock.now()
    )


@pytest.fixture
def signed(access_tokens: AccessTokens, alice: SignedIn) -> Callable[..., SignedToken]:
    """Sign a token for alice, or for whom is given."""

    def sign(who: SignedIn = alice, session: str = "session-1") -> SignedToken:
        return access_tokens.sign(who, session=SessionId(session), roles={Role.DEVELOPER})

    return sign


OpenVerifier = Callable[..., Awaitable[Verifier]]


@pytest.fixture
async def open_verifier(
    engine: AsyncEngine, redis_client: Redis, namespace: str, keys: KeyRing, token_policy: TokenPolicy,
    clock: ManualClock,
) -> AsyncIterator[OpenVerifier]:  # fmt: skip
    """Open a verifier as one process of the platform does; each call is another process's."""
    async with AsyncExitStack() as opened:

        async def open_one(
            *, engine: AsyncEngine = engine, redis: Redis = redis_client, keys: KeyRing = keys,
            following: FollowPolicy = FOLLOWING, policy: TokenPolicy = token_policy, remembered: int = 10_000,
        ) -> Verifier:  # fmt: skip
            verifier = Verifier(
                engine=engine, redis=redis, namespace=namespace, keys=keys, policy=policy,
                following=following, clock=clock, remembered=remembered,
            )  # fmt: skip
            return await opened.enter_async_context(verifier)

        yield open_one


@pytest.fixture
async def verifier(open_verifier: OpenVerifier) -> Verifier:
    """A verifier that follows revocations."""
    return await open_verifier()


@pytest.fixture
def revocations(
    engine: AsyncEngine, redis_client: Redis, namespace: str, token_policy: TokenPolicy, clock: ManualClock
) -> Revocations:
    """What revokes access tokens."""
    return Revocations(
        engine=engine, redis=redis_client, namespace=namespace, policy=token_policy, clock=clock,
        deadline=PATIENT,
    )  # fmt: skip


@pytest.fixture
def refresh_tokens(
    engine: AsyncEngine, access_tokens: AccessTokens, known_roles: KnownRoles, revocations: Revocations,
    clock: ManualClock,
) -> RefreshTokens:  # fmt: skip
    """Refresh tokens with the default lifetimes."""
    return RefreshTokens(
        engine=engine,
        access_tokens=access_tokens,
        roles=known_roles,
        revocations=revocations,
        clock=clock,
        policy=RefreshPolicy(deadline=PATIENT),
    )


@pytest.fixture
def another_process(
    postgres_endpoint: PostgresEndpoint, redis_endpoint: RedisEndpoint, namespace: str, clock: ManualClock,
    keys: KeyRing, start_program: StartProgram,
) -> Callable[[SignedToken], Awaitable[Program]]:  # fmt: skip
    """Start another process of the platform, which verifies a token and waits until it is revoked."""

    async def start(signed: SignedToken) -> Program:
        where = (postgres_endpoint.url(), redis_endpoint.url, namespace, clock.now().isoformat())
        process = await start_program(Path(__file__).with_name("another_process.py"), *where)
        told = (json.dumps(keys.jwks()), signed.token.get_secret_value())
        process.stdin.write("".join(f"{line}\n" for line in told).encode())
        return process

    return start


QUICK = PasswordPolicy(blocklist={"password123"}).model_copy(
    update={"rounds": 1_000}
)  # fewer than are allowed: what a hash costs is no matter where it isn't the subject
LENIENT = Limit(failures=1000)


class Installation(NamedTuple):
    """What one process of the platform opens."""

    accounts: Accounts
    factors: SecondFactors
    hasher: PasswordHasher


OpenAccounts = Callable[..., Awaitable[Installation]]


@pytest.fixture
async def open_accounts(
    engine: AsyncEngine, redis_client: Redis, namespace: str, clock: ManualClock, token_policy: TokenPolicy
) -> AsyncIterator[OpenAccounts]:
    """Open accounts as one process of the platform does; each call is another process's."""
    async with AsyncExitStack() as opened:

        async def open_one(
            *, engine: AsyncEngine = engine, redis: Redis = redis_client, policy: PasswordPolicy = QUICK,
            guessing: GuessingPolicy | None = None, totp: Totp | None = None, key: bytes = b"k" * 32,
            deadline: timedelta = PATIENT, redis_within: timedelta = PATIENT, waiting: int = 200, attempts: int = 5,
        ) -> Installation:  # fmt: skip
            revocations = Revocations(
                engine=engine, redis=redis, namespace=namespace, policy=token_policy, clock=clock, deadline=deadline
            )  # fmt: skip
            limits = guessing or GuessingPolicy(address=LENIENT, deadline=redis_within)
            hasher = await opened.enter_async_context(PasswordHasher(policy, waiting=waiting))
            factors = await opened.enter_async_context(
                SecondFactors(
                    engine=engine, redis=redis, namespace=namespace, key=SecretBytes(key), issuer="Netra",
                    totp=totp or Totp(), guessing=limits, clock=clock, deadline=deadline,
                )
            )  # fmt: skip
            accounts = await opened.enter_async_context(
                Accounts(
                    engine=engine, redis=redis, namespace=namespace, hasher=hasher, factors=factors,
                    revocations=revocations, policy=SignInPolicy(guessing=limits, challenge_attempts=attempts),
                    clock=clock, deadline=deadline,
                )
            )  # fmt: skip
            return Installation(accounts, factors, hasher)

        yield open_one


@pytest.fixture
async def installation(open_accounts: OpenAccounts) -> Installation:
    """One process of the platform, with the default limits by account."""
    return await open_accounts()


@pytest.fixture
def accounts(installation: Installation) -> Accounts:
    """The accounts of one process."""
    return installation.accounts


@pytest.fixture
def factors(installation: Installation) -> SecondFactors:
    """The second factors of one process."""
    return installation.factors


@pytest.fixture
def code_of(clock: ManualClock) -> Callable[[Enrolment], SecretStr]:
    """Read the code of the moment off an app that was set up, by another implementation than ours."""

    def read(enrolment: Enrolment) -> SecretStr:
        told = dict(parse_qsl(urlsplit(enrolment.uri.get_secret_value()).query))
        hash_of = {"SHA1": SHA1, "SHA256": SHA256, "SHA512": SHA512}[told["algorithm"]]
        padding = "=" * (-len(told["secret"]) % 8)
        secret = base64.b32decode(told["secret"] + padding)
        app = TOTP(secret, int(told["digits"]), hash_of(), int(told["period"]))
        return SecretStr(app.generate(int(clock.now().timestamp())).decode())

    return read


@pytest.fixture
def access(engine: AsyncEngine, clock: ManualClock) -> Access:
    """Who may do what, by the platform's own policy."""
    return Access(engine=engine, clock=clock, deadline=PATIENT)


@pytest.fixture
def acting(clock: ManualClock) -> Callable[..., Principal]:
    """Make the principal of a verified token; what it says of roles is whatever was so when it was issued."""

    def act(user: str, tenant: str = "acme", roles: frozenset[Role] = frozenset()) -> Principal:
        return Principal(
            user=UserId(user), tenant=TenantId(tenant), session=SessionId("s"), token=TokenId("t"),
            roles=roles, methods=frozenset({Method.PASSWORD}), authenticated_at=clock.now(),
            issued_at=clock.now(), expires_at=clock.now() + timedelta(minutes=10),
        )  # fmt: skip

    return act
