"""Real PostgreSQL and Redis for integration tests: started, isolated, emptied, and evidence of what was proved.

The names below are imported when they are first used, so that a run that needs no service pays for none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netra_fixtures.budgets import Budget as Budget
    from netra_fixtures.budgets import Measured as Measured
    from netra_fixtures.cases import BaseIntegrationTest as BaseIntegrationTest
    from netra_fixtures.cases import CacheIntegrationTest as CacheIntegrationTest
    from netra_fixtures.cases import DatabaseIntegrationTest as DatabaseIntegrationTest
    from netra_fixtures.cases import (
        ServiceOrchestrationIntegrationTest as ServiceOrchestrationIntegrationTest,
    )
    from netra_fixtures.cases import WebSocketIntegrationTest as WebSocketIntegrationTest
    from netra_fixtures.clock import ManualClock as ManualClock
    from netra_fixtures.context import Tenant as Tenant
    from netra_fixtures.context import TenantFactory as TenantFactory
    from netra_fixtures.context import UserContext as UserContext
    from netra_fixtures.context import UserFactory as UserFactory
    from netra_fixtures.data import ThirdPartyData as ThirdPartyData
    from netra_fixtures.environment import IsolatedEnvironment as IsolatedEnvironment
    from netra_fixtures.errors import NetraFixturesError as NetraFixturesError
    from netra_fixtures.faults import Bandwidth as Bandwidth
    from netra_fixtures.faults import Cut as Cut
    from netra_fixtures.faults import HalfOpen as HalfOpen
    from netra_fixtures.faults import Jitter as Jitter
    from netra_fixtures.faults import Latency as Latency
    from netra_fixtures.faults import Link as Link
    from netra_fixtures.faults import Reset as Reset
    from netra_fixtures.faults import SlowClose as SlowClose
    from netra_fixtures.links import ServiceLink as ServiceLink
    from netra_fixtures.links import WebSocketLink as WebSocketLink
    from netra_fixtures.links import WebSocketLinkFactory as WebSocketLinkFactory
    from netra_fixtures.outcomes import Delivered as Delivered
    from netra_fixtures.outcomes import InsightsDelivered as InsightsDelivered
    from netra_fixtures.outcomes import Outcome as Outcome
    from netra_fixtures.outcomes import SavingsFound as SavingsFound
    from netra_fixtures.outcomes import WorkAutomated as WorkAutomated
    from netra_fixtures.private import PrivatePostgres as PrivatePostgres
    from netra_fixtures.private import PrivateRedis as PrivateRedis
    from netra_fixtures.programs import Program as Program
    from netra_fixtures.programs import StartProgram as StartProgram
    from netra_fixtures.services.endpoint import PostgresEndpoint as PostgresEndpoint
    from netra_fixtures.services.endpoint import RedisEndpoint as RedisEndpoint
    from netra_fixtures.value import BusinessValue as BusinessValue
    from netra_fixtures.value import Goal as Goal
    from netra_fixtures.value import Tier as Tier
    from netra_fixtures.value import business_value as business_value
    from netra_fixtures.waiting import eventually as eventually
    from netra_fixtures.waiting import within as within

_HOMES = {
    "BaseIntegrationTest": "cases",
    "Bandwidth": "faults",
    "Budget": "budgets",
    "BusinessValue": "value",
    "CacheIntegrationTest": "cases",
    "Cut": "faults",
    "DatabaseIntegrationTest": "cases",
    "Delivered": "outcomes",
    "Goal": "value",
    "HalfOpen": "faults",
    "InsightsDelivered": "outcomes",
    "IsolatedEnvironment": "environment",
    "Jitter": "faults",
    "Latency": "faults",
    "Link": "faults",
    "ManualClock": "clock",
    "Measured": "budgets",
    "NetraFixturesError": "errors",
    "Outcome": "outcomes",
    "PostgresEndpoint": "services.endpoint",
    "PrivatePostgres": "private",
    "PrivateRedis": "private",
    "Program": "programs",
    "RedisEndpoint": "services.endpoint",
    "Reset": "faults",
    "SavingsFound": "outcomes",
    "ServiceLink": "links",
    "ServiceOrchestrationIntegrationTest": "cases",
    "SlowClose": "faults",
    "StartProgram": "programs",
    "Tenant": "context",
    "TenantFactory": "context",
    "Tier": "value",
    "ThirdPartyData": "data",
    "UserContext": "context",
    "UserFactory": "context",
    "WebSocketIntegrationTest": "cases",
    "WorkAutomated": "outcomes",
    "WebSocketLink": "links",
    "WebSocketLinkFactory": "links",
    "business_value": "value",
    "eventually": "waiting",
    "within": "waiting",
}
__all__ = sorted(_HOMES)


if not TYPE_CHECKING:  # to a type checker it would give every name, misspelt ones too

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
