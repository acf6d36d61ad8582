"""Verify access tokens: signature, claims and revocations, with those verified before remembered."""

import asyncio
import hashlib
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth.clock import Clock, utc_now
from netra_auth.errors import (
    AlgorithmRefused,
    ClaimRefused,
    KeyUnknown,
    SignatureInvalid,
    StoreUnavailable,
    TokenExpired,
    TokenMalformed,
    TokenRefused,
    TokenRevoked,
)
from netra_auth.following import Follower, FollowPolicy, WhenBlind
from netra_auth.identity import Principal, TenantId
from netra_auth.keyring import TOKEN_LIMIT, KeyRing
from netra_auth.reporting import Reporter
from netra_auth.revocations import channel_of
from netra_auth.tokens import TYPE, TokenPolicy, read
from netra_auth.violation import Kind, Violation

_KINDS: dict[type[TokenRefused], Kind] = {
    AlgorithmRefused: Kind.BAD_ALGORITHM,
    KeyUnknown: Kind.UNKNOWN_KEY,
    SignatureInvalid: Kind.BAD_SIGNATURE,
    TokenRevoked: Kind.REVOKED_TOKEN,
}


class Verifier:
    """Tell whom an access token speaks for; inside `async with` it follows revocations.

    `verify` asks no store and awaits nothing. What it refuses as a violation is written to the log by a
    task beside it.

    Args:
        keys: the ring to verify with; hand a changed one to `use`.
        remembered: how many verified tokens are remembered, each by its SHA-256.
    """

    def __init__(
        self, *, engine: AsyncEngine, redis: Redis, namespace: str, keys: KeyRing, policy: TokenPolicy,
        following: FollowPolicy | None = None, clock: Clock = utc_now, remembered: int = 10_000,
    ) -> None:  # fmt: skip
        following = following or FollowPolicy()
        self._follower = Follower(
            engine=engine, redis=redis, channel=channel_of(namespace), policy=following, clock=clock
        )
        self._reporter = Reporter(engine=engine, deadline=following.deadline)
        self._refuses = following.when_blind is WhenBlind.REFUSE
        self._start_within = following.deadline.total_seconds()
        self._keys = keys
        self._policy = policy
        self._clock = clock
        self._remembered = remembered
        self._verified: dict[bytes, Principal] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: BaseException | None = None

    async def __aenter__(self) -> Self:
        """Follow revocations, from all that are in force on.

        Raises:
            StoreUnavailable: PostgreSQL did not answer within the deadline, or Redis, unless the policy is to
                accept tokens without it.
        """
        for work in (self._follower.listen(), self._follower.poll(), self._reporter.write()):
            self._supervise(work)
        try:
            async with asyncio.timeout(self._start_within):
                await (self._follower.listening.wait() if self._refuses else self._follower.catch_up())
        except TimeoutError as error:
            await self._stop()
            raise StoreUnavailable("Redis or PostgreSQL") from error
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()
        await self._reporter.flush()
        if self._ended is not None and error is None:
            raise self._ended

    def use(self, keys: KeyRing) -> None:
        """Verify with another ring from now on; what was verified with the one before is forgotten."""
        self._keys = keys
        self._verified = {}

    def verify(
        self, token: SecretStr | str, *, tenant: TenantId | None = None, address: str | None = None
    ) -> Principal:
        """Return whom *token* speaks for.

        Args:
            tenant: the one that is asked for, where the caller knows it: a token of another is refused.
            address: where the token came from, for the log of violations.

        Raises:
            TokenRefused: it opens nothing; the leaf says why.
            StoreUnavailable: revocations could not be followed for longer than `FollowPolicy` trusts.
        """
        text = token.get_secret_value() if isinstance(token, SecretStr) else token
        principal: Principal | None = None
        try:
            principal = self._checked(text)
            if self._follower.covers(principal):
                raise TokenRevoked
            if tenant is not None and principal.tenant != tenant:
                raise ClaimRefused("tenant")
        except TokenRefused as refused:
            self._report(refused, text, principal, address)
            raise
        return principal

    def _checked(self, text: str) -> Principal:
        if not self._tasks:
            raise RuntimeError("nothing is verified outside of `async with verifier`")
        if self._ended is not None:
            raise StoreUnavailable("the follower of revocations") from self._ended
        if self._refuses and self._follower.is_blind():
            raise StoreUnavailable("Redis or PostgreSQL")
        digest = _digest(text)
        principal, now = self._verified.get(digest), self._clock()
        if principal is None:
            principal = read(self._keys.open(text, typ=TYPE), self._policy, now)
            self._remember(digest, principal)
        elif now >= principal.expires_at + self._policy.leeway:
            del self._verified[digest]
            raise TokenExpired
        return principal

    def _remember(self, digest: bytes, principal: Principal) -> None:
        if self._remembered < 1:
            return
        if len(self._verified) >= self._remembered:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = principal

    def _report(
        self, refused: TokenRefused, text: str, principal: Principal | None, address: str | None
    ) -> None:
        other_tenant = isinstance(refused, ClaimRefused) and refused.claim == "tenant" and principal
        kind = Kind.OTHER_TENANT if other_tenant else _KINDS.get(type(refused))
        if kind is None:
            return
        violation = Violation(
            at=self._clock(), kind=kind, address=address,
            user=principal.user if principal else None, tenant=principal.tenant if principal else None,
            detail={"token_sha256": _digest(text).hex()},
        )  # fmt: skip
        self._reporter.add(violation)

    def _supervise(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._note_end)
        self._tasks.append(task)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        """Notice a task that ended by itself: from then on nothing is verified."""
        if task in self._tasks and self._ended is None:
            fault = None if task.cancelled() else task.exception()
            self._ended = fault or RuntimeError("a task that follows revocations ended")

    async def _stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _digest(text: str) -> bytes:
    if not isinstance(text, str) or len(text) > TOKEN_LIMIT or not text.isascii():
        raise TokenMalformed
    return hashlib.sha256(text.encode()).digest()
