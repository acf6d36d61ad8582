"""Wait until a verifier says of a token what it has to say in the end."""

from netra_auth import AccessToken, StoreUnavailable, TokenRefused, TokenRevoked, Verifier
from netra_fixtures import eventually


async def refused(
    verifier: Verifier, token: AccessToken, by: type[Exception] = TokenRevoked, *, seconds: float = 20
) -> None:
    """Wait until *token* is refused by that error, whatever comes before."""

    async def check() -> None:
        try:
            verifier.verify(token)
        except by:
            return
        except (TokenRefused, StoreUnavailable) as error:
            raise AssertionError(f"it is still refused as {type(error).__name__}") from error
        raise AssertionError("the token is still accepted")

    await eventually(check, seconds=seconds)


async def accepted(verifier: Verifier, token: AccessToken, *, seconds: float = 20) -> None:
    """Wait until *token* is accepted."""

    async def check() -> None:
        try:
            verifier.verify(token)
        except (TokenRefused, StoreUnavailable) as error:
            raise AssertionError(f"the token is still refused as {type(error).__name__}") from error

    await eventually(check, seconds=seconds)
