"""When a signed-in user has to prove again who they are; pure."""

from datetime import datetime, timedelta

from netra_auth.errors import StepUpRequired
from netra_auth.identity import Method, Principal

SECOND_FACTORS = frozenset({Method.ONE_TIME_PASSWORD, Method.RECOVERY_CODE})


def require_recent(principal: Principal, *, within: timedelta, now: datetime) -> None:
    """Let pass whoever proved themselves by a second factor not longer ago than *within*.

    Raises:
        StepUpRequired: they did not; `SecondFactors.step_up` is the way.

    Source:
        RFC 9470, section 3, and NIST SP 800-63B-4, section 2.2.3.
    """
    if not principal.methods & SECOND_FACTORS or now - principal.authenticated_at > within:
        raise StepUpRequired(within)
