"""What the tests of auth share: the parts of one installation, on the test's own services."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import Access, Method, Principal, Role, SessionId, TenantId, TokenId, UserId, ViolationLog
from netra_fixtures import ManualClock

PATIENT = timedelta(seconds=30)  # a busy machine is no outage


@pytest.fixture
def log(engine: AsyncEngine) -> ViolationLog:
    """The log of violations."""
    return ViolationLog(engine=engine, deadline=PATIENT)


@pytest.fixture
def access(engine: AsyncEngine, clock: ManualClock) -> Access:
    """Who may do what, by the platform's own policy."""
    return Access(engine=engine, clock=clock, deadline=PATIENT)


@pytest.fixture
def acting(clock: ManualClock) -> Callable[..., Principal]:
    """Make the principal of a verified token; what it says of roles is whatever was so when it was issued."""

    def act(user: str, tenant: str = "acme", roles: frozenset[Role] = frozenset()) -> Principal:
        return Principal(
            user=UserId(user), tenant=TenantId(tenant), session=SessionId("s"), token=TokenId("t"),
            roles=roles, methods=frozenset({Method.PASSWORD}), authenticated_at=clock.now(),
            issued_at=clock.now(), expires_at=clock.now() + timedelta(minutes=10),
        )  # fmt: skip

    return act
