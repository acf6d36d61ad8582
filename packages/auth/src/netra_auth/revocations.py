"""Revoke access tokens: recorded in PostgreSQL first, then announced over Redis."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth.clock import Clock, utc_now
from netra_auth.identity import SessionId, TokenId, UserId, check_name
from netra_auth.revocation import Revocation, Revoked
from netra_auth.store import refresh_tokens, revocations
from netra_auth.store.database import Database, Transaction
from netra_auth.tokens import TokenPolicy


def channel_of(namespace: str) -> str:
    """Name the channel on which revocations are announced."""
    return f"{namespace}:revoked"


class Revocations:
    """Revoke by token, by session and by user; every verifier hears of it, or reads it in PostgreSQL.

    A revocation holds once the call has returned, whether or not Redis could be told: verifiers that miss
    the announcement read the record every `poll_every`.
    """

    def __init__(
        self, *, engine: AsyncEngine, redis: Redis, namespace: str, policy: TokenPolicy, clock: Clock = utc_now,
        deadline: timedelta = timedelta(seconds=2),
    ) -> None:  # fmt: skip
        self._database = Database(engine, deadline=deadline)
        self._redis = redis
        self._channel = channel_of(namespace)
        self._kept = policy.kept
        self._clock = clock
        self._patience = deadline.total_seconds() / 4

    async def revoke_token(self, token: TokenId) -> None:
        """Revoke one access token; what was refreshed with it, and its session, go on.

        Raises:
            StoreUnavailable: PostgreSQL did not answer within the deadline.
            InvalidIdentifier: nobody and nothing has such a name.
        """
        await self._revoke(Revoked.TOKEN, token)

    async def revoke_session(self, session: SessionId) -> None:
        """Revoke the access tokens and the refresh tokens of a session.

        Raises:
            StoreUnavailable: PostgreSQL did not answer within the deadline.
            InvalidIdentifier: nobody and nothing has such a name.
        """
        await self._revoke(Revoked.SESSION, session)

    async def revoke_user(self, user: UserId, /, *, sign_out: bool = True) -> None:
        """Revoke the access tokens of a user that were issued up to now.

        Args:
            sign_out: revoke the refresh tokens too, as after a change of password. False, as after a change
                of roles: the next refresh brings a token with what holds then.

        Raises:
            StoreUnavailable: PostgreSQL did not answer within the deadline.
            InvalidIdentifier: nobody and nothing has such a name.
        """
        await self._revoke(Revoked.USER, user, sign_out=sign_out)

    async def record(
        self, within: Transaction, what: Revoked, subject: str, *, sign_out: bool = True
    ) -> Revocation:
        """Write a revocation down as part of a transaction; announce it once that has committed."""
        if sign_out and what is Revoked.SESSION:
            await refresh_tokens.revoke_of_session(within, SessionId(subject), at=self._clock())
        if sign_out and what is Revoked.USER:
            await revocations.lock_user(within, UserId(subject))
            await refresh_tokens.revoke_of_user(within, UserId(subject), at=self._clock())
        at = (
            self._clock()
        )  # once the locks are held: a grant that was made while they were waited for is covered
        revocation = Revocation(what=what, subject=subject, at=at, until=at + self._kept)
        await revocations.add(within, revocation, signs_out=sign_out)
        return revocation

    async def announce(self, made: Iterable[Revocation]) -> None:
        """Tell the verifiers; where Redis can't be told, they read the record."""
        try:
            async with asyncio.timeout(self._patience):
                for revocation in made:
                    await self._redis.publish(self._channel, revocation.model_dump_json())
        except (RedisError, OSError):
            return

    async def purge(self, now: datetime | None = None) -> None:
        """Delete the revocations whose tokens have all expired; call it every few hours.

        Raises:
            StoreUnavailable: PostgreSQL did not answer within the deadline.
        """
        await revocations.purge(self._database, now or self._clock())

    async def _revoke(self, what: Revoked, subject: str, *, sign_out: bool = True) -> None:
        check_name(subject)
        async with self._database.transaction() as transaction:
            made = await self.record(transaction, what, subject, sign_out=sign_out)
        await self.announce([made])
