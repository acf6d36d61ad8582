"""What can go wrong when it is asked who somebody is and what they may do.

AuthError
├── InvalidEmail
├── PasswordRefused
├── EmailTaken
├── SignInRefused            whatever the true reason is; that stands in the log of violations
├── SecondFactorRefused
├── SecondFactorState        enrolled already, or not at all
├── StepUpRequired
├── TokenRefused             the access token opens nothing; the leaf says why
│   ├── TokenMalformed
│   ├── AlgorithmRefused
│   ├── KeyUnknown
│   ├── SignatureInvalid
│   ├── ClaimRefused
│   ├── TokenExpired
│   ├── TokenNotYetValid
│   └── TokenRevoked
├── RefreshRefused           the refresh token opens nothing; the user signs in again
│   ├── RefreshTokenUnknown
│   ├── RefreshTokenExpired
│   ├── RefreshTokenRevoked
│   └── RefreshTokenReused
├── AccessDenied
├── KeyRefused               a key that must not sign or verify; nothing starts with it
│   └── WeakKey
└── StoreUnavailable
"""


class AuthError(Exception):
    """Base of every error that netra_auth raises on purpose."""


class StoreUnavailable(AuthError):
    """A store did not answer within the deadline, so nothing can be said, and nobody is let in."""

    def __init__(self, store: str) -> None:
        super().__init__(f"{store} did not answer in time; try again shortly")
        self.store = store
