"""Access tokens: what they claim, how they are signed and how they are read back."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Self
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from netra_auth.clock import Clock, utc_now
from netra_auth.errors import ClaimRefused, TokenExpired, TokenMalformed, TokenNotYetValid
from netra_auth.identity import (
    AccessToken,
    Method,
    Principal,
    Role,
    SessionId,
    SignedIn,
    TenantId,
    TokenId,
    UserId,
    check_names,
)
from netra_auth.keyring import TOKEN_LIMIT, KeyRing

TYPE: Final = "at+jwt"
_SLACK = timedelta(seconds=60)  # a token that was being signed while its session was revoked

_Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]+$")]
_Instant = Annotated[float, Field(gt=0, lt=253_402_300_800)]


class TokenPolicy(BaseModel, frozen=True, extra="forbid"):
    """Who issues access tokens, for whom, and how long they live.

    `leeway` is how far the clocks of issuer and verifier may differ. No token that lives longer than
    `lifetime` is accepted, so that a revocation may be forgotten after `kept`.
    """

    issuer: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    lifetime: timedelta = timedelta(minutes=10)
    leeway: timedelta = timedelta(seconds=2)

    @property
    def kept(self) -> timedelta:
        """How long after a revocation the last token that it covers has expired."""
        return self.lifetime + 2 * self.leeway + _SLACK

    @model_validator(mode="after")
    def _durations_make_sense(self) -> Self:
        if not timedelta(0) <= self.leeway < self.lifetime:
            raise ValueError("the leeway is not negative and shorter than the lifetime")
        return self


class Claims(BaseModel):
    """What an access token says; instants are seconds since 1970, with fractions.

    Source:
        RFC 7519, section 4.1; RFC 9068, section 2.2. `iat` carries fractions so that a token that is issued
        right after a revocation is told from those before it.
    """

    model_config = ConfigDict(
        strict=True, frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True
    )

    iss: str
    aud: str
    sub: _Name
    exp: _Instant
    nbf: _Instant
    iat: _Instant
    jti: _Name
    sid: _Name
    tenant: _Name
    roles: frozenset[Role]
    auth_time: _Instant
    amr: frozenset[Method]


class SignedToken(BaseModel, frozen=True):
    """An access token, with whom it speaks for."""

    token: AccessToken
    principal: Principal


class AccessTokens:
    """Sign access tokens with the signing key of a ring."""

    def __init__(self, *, keys: KeyRing, policy: TokenPolicy, clock: Clock = utc_now) -> None:
        self._keys = keys
        self._clock = clock
        self.policy = policy

    def use(self, keys: KeyRing) -> None:
        """Sign with another ring from now on."""
        self._keys = keys

    def sign(
        self, signed_in: SignedIn, *, session: SessionId, roles: Iterable[Role],
        issued_at: datetime | None = None,
    ) -> SignedToken:  # fmt: skip
        """Sign a token for somebody who proved who they are.

        Args:
            issued_at: when *roles* were looked up, by default now: a revocation after that covers the token.

        Raises:
            KeyRefused: the ring has no key that signs.
            InvalidIdentifier: a user, tenant or session can't have such a name.
            ValueError: all together they are too long for a token.
        """
        check_names(signed_in.user, signed_in.tenant, session)
        at = issued_at or self._clock()
        claims = Claims(
            iss=self.policy.issuer, aud=self.policy.audience, sub=signed_in.user, sid=session,
            tenant=signed_in.tenant, jti=uuid4().hex, roles=frozenset(roles), amr=signed_in.methods,
            auth_time=signed_in.at.timestamp(), iat=at.timestamp(), nbf=at.timestamp(),
            exp=(at + self.policy.lifetime).timestamp(),
        )  # fmt: skip
        token = self._keys.seal(claims.model_dump_json().encode(), typ=TYPE)
        if len(token) > TOKEN_LIMIT:
            raise ValueError("the identifiers are too long for a token")
        return SignedToken(token=AccessToken(token), principal=_principal(claims))


def read(payload: bytes, policy: TokenPolicy, now: datetime) -> Principal:
    """Return whom verified claims speak for at *now*.

    Raises:
        TokenMalformed: they are no JSON object.
        ClaimRefused: one is missing, of another type, or for another issuer or audience; or the token lives
            longer than the policy allows.
        TokenExpired, TokenNotYetValid: *now* is not within its time.

    Source:
        RFC 7519, section 7.2; RFC 9068, section 4.
    """
    try:
        claims = Claims.model_validate_json(payload)
    except ValidationError as error:
        where = error.errors(include_url=False, include_input=False, include_context=False)[0]["loc"]
        refused = ClaimRefused(str(where[0])) if where else TokenMalformed()
        raise refused from None
    if claims.iss != policy.issuer:
        raise ClaimRefused("iss")
    if claims.aud != policy.audience:
        raise ClaimRefused("aud")
    leeway = policy.leeway.total_seconds()
    if not 0 < claims.exp - claims.iat <= policy.lifetime.total_seconds() + 0.001:
        raise ClaimRefused("exp")
    instant = now.timestamp()
    if max(claims.nbf, claims.iat) > instant + leeway:
        raise TokenNotYetValid
    if instant >= claims.exp + leeway:
        raise TokenExpired
    return _principal(claims)


def _principal(claims: Claims) -> Principal:
    return Principal(
        user=UserId(claims.sub), tenant=TenantId(claims.tenant), session=SessionId(claims.sid),
        token=TokenId(claims.jti), roles=claims.roles, methods=claims.amr,
        authenticated_at=datetime.fromtimestamp(claims.auth_time, UTC),
        issued_at=datetime.fromtimestamp(claims.iat, UTC),
        expires_at=datetime.fromtimestamp(claims.exp, UTC),
    )  # fmt: skip
