"""Hashing a password takes a while, during which everybody else is served."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from netra_auth import HashingOverloaded, PasswordHasher, PasswordPolicy, TenantId
from netra_fixtures import Goal, Tier, business_value, within

OpenAccounts = Callable[..., Any]
QUICK = PasswordPolicy(blocklist={"password123"}, rounds=100_000)
SLOW = PasswordPolicy(blocklist={"password123"}, rounds=300_000)


@business_value(tier=Tier.FREE, goals={Goal.STABILITY}, impact="pages of others load while somebody signs in")
async def test_four_sign_ins_at_once_leave_the_event_loop_free(
    open_accounts: OpenAccounts, redis_client: Redis
) -> None:
    """While four passwords are being hashed, the same process goes on answering others."""
    one = await open_accounts(policy=SLOW)
    password = SecretStr("correct horse battery")
    await one.accounts.register("alice@example.com", password, tenant=TenantId("acme"))
    answered_meanwhile = 0

    async with within(seconds=60), asyncio.TaskGroup() as group:
        sign_ins = [
            group.create_task(one.accounts.sign_in("alice@example.com", password, address=None))
            for _ in range(4)
        ]
        while not all(sign_in.done() for sign_in in sign_ins):
            hashed, pending = one.hasher.hashes, one.hasher.pending
            await redis_client.ping()
            answered_meanwhile += pending > 0 and one.hasher.hashes == hashed

    assert answered_meanwhile > 0


async def test_more_than_may_wait_are_told_so_at_once() -> None:
    """A flood of sign-ins is turned away at the door instead of making everybody wait without end."""
    async with PasswordHasher(QUICK, threads=1, waiting=2) as hasher:
        tries = [asyncio.create_task(hasher.hash(b"rabbit hole")) for _ in range(10)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        again = await hasher.hash(b"rabbit hole")

    assert [isinstance(one, HashingOverloaded) for one in results] == [False] * 3 + [True] * 7
    assert again.startswith("$pbkdf2-sha256$")
    assert (hasher.hashes, hasher.pending) == (4, 0)


async def test_who_hangs_up_gives_the_place_free_when_the_hash_is_done() -> None:
    """Browsers that close early neither free a place that is still in use nor keep it for ever."""
    async with PasswordHasher(QUICK, threads=1, waiting=1) as hasher:
        tries = [asyncio.create_task(hasher.hash(b"rabbit hole")) for _ in range(2)]
        await asyncio.sleep(0)
        for one in tries:
            one.cancel()
        await asyncio.wait(tries)

    assert all(one.cancelled() for one in tries)
    assert hasher.pending == 0


async def test_threads_end_with_the_object_that_owns_them() -> None:
    """A service that stops leaves nothing running."""
    async with PasswordHasher(QUICK, threads=2) as hasher:
        await asyncio.gather(*(hasher.verify(b"rabbit hole", None) for _ in range(4)))

    assert not [one for one in threading.enumerate() if one.name.startswith("netra-auth-password")]
    with pytest.raises(RuntimeError):
        await hasher.hash(b"rabbit hole")
    assert hasher.pending == 0
