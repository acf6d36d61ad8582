"""Second factors: one-time passwords from an app, and codes on paper for when the app is lost."""

import base64
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel, SecretBytes, SecretStr
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth.clock import Clock, utc_now
from netra_auth.errors import (
    AccountUnknown,
    SecondFactorRefused,
    SecondFactorState,
    SecondFactorUnreadable,
    TokenExpired,
    TokenRevoked,
)
from netra_auth.guessing import Guessing, GuessingPolicy
from netra_auth.identity import Method, Principal, SignedIn, UserId
from netra_auth.store import accounts, revocations, second_factors, violations
from netra_auth.store.database import Database
from netra_auth.totp import Totp, base32
from netra_auth.violation import Kind, Violation

T = TypeVar("T")
_NONCE_BYTES = 12
_KEY_BYTES = 32
_CODE_BYTES = 15  # 120 bits, of which a plain SHA-256 says nothing: ASVS 6.5.2 asks for 112
_LONGEST = 64
_TOTP, _GUESSING = Totp(), GuessingPolicy()


class RecoveryCode(SecretStr):
    """Four groups of six letters and digits, never shown by `repr` or `str`."""


class Enrolment(BaseModel, frozen=True):
    """What an authenticator app needs: show it to the user once, and keep neither."""

    secret: SecretStr
    uri: SecretStr


class SecondFactors:
    """Enrol, confirm, verify and disable second factors.

    Args:
        key: 32 bytes by which the secrets are sealed in PostgreSQL; whoever has both can make codes.
        issuer: what authenticator apps show beside the account's e-mail.

    Raises:
        ValueError: the key has another length.
    """

    def __init__(
        self, *, engine: AsyncEngine, redis: Redis, namespace: str, key: SecretBytes, issuer: str,
        totp: Totp = _TOTP, guessing: GuessingPolicy = _GUESSING, recovery_codes: int = 10,
        clock: Clock = utc_now, deadline: timedelta = timedelta(seconds=2),
    ) -> None:  # fmt: skip
        if len(key.get_secret_value()) != _KEY_BYTES:
            raise ValueError(f"the key must have {_KEY_BYTES} bytes")
        self._seal = AESGCM(key.get_secret_value())
        self._issuer = issuer
        self._totp = totp
        self._recovery_codes = recovery_codes
        self._clock = clock
        self._database = Database(engine, deadline=deadline)
        self._guessing = Guessing(redis=redis, namespace=f"{namespace}:codes", policy=guessing, clock=clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close what this object opened."""
        await self._guessing.close()

    async def is_enrolled(self, user: UserId) -> bool:
        """Tell whether the user has confirmed a second factor.

        Raises:
            StoreUnavailable: PostgreSQL did not answer within the deadline.
        """
        row = await second_factors.find(self._database, user)
        return row is not None and row.confirmed_at is not None

    async def enrol(self, user: UserId) -> Enrolment:
        """Make a secret, which counts once it is confirmed; one that never was is replaced.

        Raises:
            AccountUnknown: nobody has this id.
            SecondFactorState: a second factor is enrolled already.
            StoreUnavailable: PostgreSQL did not answer within the deadline.

        Source:
            RFC 4226, section 4, R6: as many bytes as the hash function gives.
        """
        account = await accounts.by_id(self._database, user)
        if account is None:
            raise AccountUnknown
        secret = secrets.token_bytes(hashlib.new(self._totp.hash.value).digest_size)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._seal.encrypt(nonce, secret, user.encode())
        if not await second_factors.enrol(self._database, user, sealed, self._clock()):
            raise SecondFactorState(enrolled=True)
        uri = self._totp.uri(secret, issuer=self._issuer, name=account.email)
        return Enrolment(secret=SecretStr(base32(secret)), uri=SecretStr(uri))

    async def confirm(
        self, user: UserId, code: SecretStr, *, address: str | None = None
    ) -> tuple[RecoveryCode, ...]:
        """Turn the second factor on: the user's app makes the right codes.

        Returns:
            Codes that each work once in place of the app's; only their digests are kept.

        Raises:
            SecondFactorRefused: the code is wrong.
            SecondFactorState: nothing was enrolled, or it is confirmed already.
            StoreUnavailable: a store did not answer within the deadline.
        """
        row = await second_factors.find(self._database, user)
        if row is None or row.confirmed_at is not None:
            raise SecondFactorState(enrolled=row is not None)

        async def use() -> int | Kind:
            step = self._step(user, row, _typed(code))
            return Kind.WRONG_CODE if step is None else step

        step = await self._guarded(user, address, use)
        codes = [secrets.token_bytes(_CODE_BYTES) for _ in range(self._recovery_codes)]
        async with self._database.transaction() as within:
            if not await second_factors.confirm(within, user, row.sealed, step, self._clock()):
                raise SecondFactorState(enrolled=True)
            await second_factors.add_codes(within, user, map(_digest, codes))
        return tuple(RecoveryCode(_grouped(one)) for one in codes)

    async def verify(self, user: UserId, code: SecretStr, *, address: str | None = None) -> Method:
        """Spend a code of the app, or one for recovery, and say which it was.

        Raises:
            SecondFactorRefused: it is wrong, was used before, or too many were wrong.
            SecondFactorState: no second factor is confirmed.
            StoreUnavailable: a store did not answer within the deadline.

        Source:
            RFC 6238, section 5.2: a code is accepted once, and none older than it afterwards.
        """
        row = await second_factors.find(self._database, user)
        if row is None or row.confirmed_at is None:
            raise SecondFactorState(enrolled=False)
        return await self._guarded(user, address, lambda: self._spent(user, row, _typed(code)))

    async def disable(self, user: UserId, code: SecretStr, *, address: str | None = None) -> None:
        """Remove the second factor and its recovery codes, on a proof by one of them.

        Raises:
            SecondFactorRefused, SecondFactorState, StoreUnavailable: as `verify`.
        """
        await self.verify(user, code, address=address)
        async with self._database.transaction() as within:
            await second_factors.remove(within, user)

    async def step_up(self, principal: Principal, code: SecretStr, *, address: str | None = None) -> SignedIn:
        """Prove again who is signed in: issue new tokens on what is returned.

        Raises:
            TokenExpired, TokenRevoked: what made *principal* is over, as after a sign-out or for a disabled account.
            SecondFactorRefused, SecondFactorState, StoreUnavailable: as `verify`.
        """
        at = self._clock()  # before the record is read: what is revoked later revokes this too
        if at > principal.expires_at:
            raise TokenExpired
        async with self._database.transaction() as within:
            await revocations.lock_user(within, principal.user)
            if await revocations.covers(within, principal):
                raise TokenRevoked
        method = await self.verify(principal.user, code, address=address)
        methods = principal.methods | {method}
        return SignedIn(user=principal.user, tenant=principal.tenant, methods=methods, at=at)

    async def _guarded(
        self, user: UserId, address: str | None, use: Callable[[], Awaitable[T | Kind]]
    ) -> T:  # fmt: skip
        """Return what *use* does, within the limits on guessing; write down what it finds wrong."""
        attempt = await self._guessing.reserve(user, address)
        found: T | Kind = Kind.LOCKED
        if attempt.admitted:
            async with self._guessing.checking(attempt):
                found = await use()
        if not isinstance(found, Kind):
            await self._guessing.succeeded(attempt)
            return found
        kind = Kind.LOCKOUT if attempt.locks else found
        detail = {"reason": found.value}
        violation = Violation(at=self._clock(), kind=kind, user=user, address=address, detail=detail)
        await violations.add(self._database, violation)
        raise SecondFactorRefused

    async def _spent(self, user: UserId, row: second_factors.Row, typed: str) -> Method | Kind:
        if self._totp.looks_right(typed):
            step = self._step(user, row, typed)
            if step is None:
                return Kind.WRONG_CODE
            unused = await second_factors.use_step(self._database, user, row.sealed, step)
            return Method.ONE_TIME_PASSWORD if unused else Kind.REPLAYED_CODE
        code = _recovery_code(typed)
        if code is None:
            return Kind.WRONG_CODE
        if await second_factors.use_code(self._database, user, _digest(code), self._clock()):
            return Method.RECOVERY_CODE
        known = await second_factors.has_code(self._database, user, _digest(code))
        return Kind.REPLAYED_CODE if known else Kind.WRONG_CODE

    def _step(self, user: UserId, row: second_factors.Row, typed: str) -> int | None:
        """Return the step that the code is of."""
        nonce, sealed = row.sealed[:_NONCE_BYTES], row.sealed[_NONCE_BYTES:]
        try:
            secret = self._seal.decrypt(nonce, sealed, user.encode())
        except InvalidTag:
            raise SecondFactorUnreadable from None
        return self._totp.matched(secret, typed, self._clock().timestamp())


def _typed(code: SecretStr) -> str:
    """Return what was typed, without the blanks and hyphens that make it readable."""
    text = code.get_secret_value()
    return text.replace(" ", "").replace("-", "") if len(text) <= _LONGEST else ""


def _recovery_code(typed: str) -> bytes | None:
    try:
        code = base64.b32decode(typed.encode(), casefold=True)
    except ValueError:  # not base32, or not ASCII
        return None
    return code if len(code) == _CODE_BYTES else None


def _digest(code: bytes) -> bytes:
    return hashlib.sha256(code).digest()


def _grouped(code: bytes) -> str:
    text = base64.b32encode(code).decode()
    return "-".join(text[start : start + 6] for start in range(0, len(text), 6))
