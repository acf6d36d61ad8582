"""Hash passwords in threads, so that whoever waits for one keeps nobody else waiting."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from pydantic import SecretStr

from netra_auth import passwords
from netra_auth.email import Email
from netra_auth.errors import HashingOverloaded
from netra_auth.passwords import PasswordPolicy

T = TypeVar("T")


class PasswordHasher:
    """Hash and verify by a policy, in as many threads as there are processors.

    Args:
        waiting: how many passwords may wait for a thread before more are refused.
    """

    def __init__(self, policy: PasswordPolicy, *, threads: int | None = None, waiting: int = 200) -> None:
        self.policy = policy
        count = threads or os.cpu_count() or 1
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="netra-auth-password")
        self._room = count + waiting
        self._counting = threading.Lock()  # of what threads and event loop count
        self._pending = 0
        self._hashes = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the threads, once what was begun is done."""
        await asyncio.to_thread(self._executor.shutdown)

    @property
    def hashes(self) -> int:
        """How often a password was hashed or verified, each time with the work of the policy's rounds."""
        return self._hashes

    @property
    def pending(self) -> int:
        """How many passwords are being hashed, or wait for it."""
        return self._pending

    async def hash(self, password: bytes) -> str:
        """Return the text to store.

        Raises:
            HashingOverloaded: too many wait.
        """
        return await self._run(lambda: passwords.hashed(password, self.policy.rounds))

    async def verify(self, password: bytes, stored: str | None) -> bool:
        """Tell whether the password fits; None, which nothing fits, costs the same.

        Raises:
            HashingOverloaded: too many wait.
        """
        return await self._run(lambda: passwords.verified(password, stored, self.policy.rounds))

    def check(self, password: SecretStr, email: Email) -> bytes:
        """Return the bytes of a password that may be set.

        Raises:
            PasswordRefused: the policy forbids it.
        """
        self.policy.check(password, email)
        return passwords.normalised(password)

    def is_outdated(self, stored: str) -> bool:
        """Tell whether the policy rose since *stored* was written."""
        return passwords.needs_rehash(stored, self.policy.rounds)

    async def _run(self, work: Callable[[], T]) -> T:
        with self._counting:
            if self._pending >= self._room:
                raise HashingOverloaded
            self._pending += 1
        try:
            task = self._executor.submit(work)
        except BaseException:
            self._done(hashes=0)
            raise
        # a thread can't be interrupted: whoever goes away leaves its place taken until it is done
        task.add_done_callback(lambda done: self._done(hashes=0 if done.cancelled() else 1))
        return await asyncio.wrap_future(task)

    def _done(self, *, hashes: int) -> None:
        with self._counting:
            self._pending -= 1
            self._hashes += hashes
