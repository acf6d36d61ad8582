"""The step between a right password and a right code: a secret that the user holds for some minutes."""

import secrets
from datetime import datetime, timedelta

from pydantic import BaseModel, SecretStr
from redis.asyncio import Redis

from netra_auth.clock import Clock, utc_now
from netra_auth.errors import ChallengeRefused
from netra_auth.guessing import digest
from netra_auth.identity import TenantId, UserId
from netra_auth.store.memory import Memory

_BYTES = 32

# KEYS: challenge. ARGV: what it holds, time to live (ms)
_KEEP = "redis.call('HSET', KEYS[1], 'held', ARGV[1], 'uses', 0) redis.call('PEXPIRE', KEYS[1], ARGV[2])"
# KEYS: challenge. ARGV: how often it may be used. Answers what it holds, and counts the use.
_USE = """
local held = redis.call('HGET', KEYS[1], 'held')
if not held then return nil end
if redis.call('HINCRBY', KEYS[1], 'uses', 1) > tonumber(ARGV[1]) then
  redis.call('DEL', KEYS[1])
  return nil
end
return held
"""
_SPEND = "return redis.call('DEL', KEYS[1])"


class Challenge(SecretStr):
    """43 URL-safe characters for the user, never shown by `repr` or `str`."""


class SecondFactorNeeded(BaseModel, frozen=True):
    """The password was right; a code of the second factor and this challenge complete the sign-in."""

    challenge: Challenge
    expires_at: datetime


class HalfSignedIn(BaseModel, frozen=True):
    """Whose password was right, and which password that was."""

    user: UserId
    tenant: TenantId
    password_version: int
    expires_at: datetime


class Challenges:
    """Keep challenges in Redis, by their SHA-256, until they are spent or too old."""

    def __init__(
        self, *, redis: Redis, namespace: str, lifetime: timedelta, attempts: int, deadline: timedelta,
        clock: Clock = utc_now,
    ) -> None:  # fmt: skip
        self._memory = Memory(redis, deadline=deadline)
        self._namespace = namespace
        self._lifetime = lifetime
        self._attempts = attempts
        self._clock = clock

    async def close(self) -> None:
        """Close the connections."""
        await self._memory.close()

    async def issue(self, user: UserId, tenant: TenantId, password_version: int) -> SecondFactorNeeded:
        """Make a challenge for the user.

        Raises:
            StoreUnavailable: Redis did not answer within the deadline.
        """
        challenge = Challenge(secrets.token_urlsafe(_BYTES))
        held = HalfSignedIn(
            user=user, tenant=tenant, password_version=password_version,
            expires_at=self._clock() + self._lifetime,
        )  # fmt: skip
        kept_ms = self._lifetime // timedelta(milliseconds=1)
        await self._memory.run(_KEEP, [self._key(challenge)], held.model_dump_json(), kept_ms)
        return SecondFactorNeeded(challenge=challenge, expires_at=held.expires_at)

    async def use(self, challenge: SecretStr) -> HalfSignedIn:
        """Return whose challenge it is; each use counts, whatever comes of it.

        Raises:
            ChallengeRefused: it is unknown, spent, too old or used too often.
            StoreUnavailable: Redis did not answer within the deadline.
        """
        found = await self._memory.run(_USE, [self._key(challenge)], self._attempts)
        if found is None:
            raise ChallengeRefused
        held = HalfSignedIn.model_validate_json(found)
        if held.expires_at <= self._clock():
            raise ChallengeRefused
        return held

    async def spend(self, challenge: SecretStr) -> None:
        """End the challenge; of two at once, one is refused.

        Raises:
            ChallengeRefused: it was spent before.
            StoreUnavailable: Redis did not answer within the deadline.
        """
        if not await self._memory.run(_SPEND, [self._key(challenge)]):
            raise ChallengeRefused

    def _key(self, challenge: SecretStr) -> str:
        return f"{self._namespace}:challenge:{digest(challenge.get_secret_value())}"
