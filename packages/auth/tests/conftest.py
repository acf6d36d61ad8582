"""What the tests of auth share: the parts of one installation, on the test's own services."""

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_auth import ViolationLog

PATIENT = timedelta(seconds=30)  # a busy machine is no outage


@pytest.fixture
def log(engine: AsyncEngine) -> ViolationLog:
    """The log of violations."""
    return ViolationLog(engine=engine, deadline=PATIENT)
