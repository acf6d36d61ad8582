"""Runs in which several agents work together, and which survive the loss of a worker."""

from netra_agents.agent import Agent, LanguageModel, Message, RetryPolicy, Tools, Turn
from netra_agents.consistency import Difference
from netra_agents.engine import DbosEngine, Engine
from netra_agents.errors import (
    AgentError,
    AgentsError,
    EngineUnavailable,
    InvalidInput,
    KeyReused,
    NotParked,
    PlanRefused,
    RunCancelled,
    RunEnded,
    RunFailed,
    RunNotFound,
    RunRefused,
    RunTimedOut,
    StillRunning,
    StoreUnavailable,
    TransientError,
)
from netra_agents.events import EventSink
from netra_agents.orchestrator import Orchestrator
from netra_agents.plan import OnFailure, Plan, Step, sequence
from netra_agents.policy import AgentsPolicy
from netra_agents.run import (
    Caller,
    Run,
    RunId,
    RunState,
    StepResult,
    StepState,
    StepView,
    TenantId,
    Tier,
    UserId,
)
from netra_agents.settings import Equipment, WorkerSettings
from netra_agents.worker import Worker

__all__ = [
    "Agent",
    "AgentError",
    "AgentsError",
    "AgentsPolicy",
    "Caller",
    "DbosEngine",
    "Difference",
    "Engine",
    "EngineUnavailable",
    "Equipment",
    "EventSink",
    "InvalidInput",
    "KeyReused",
    "LanguageModel",
    "Message",
    "NotParked",
    "OnFailure",
    "Orchestrator",
    "Plan",
    "PlanRefused",
    "RetryPolicy",
    "Run",
    "RunCancelled",
    "RunEnded",
    "RunFailed",
    "RunId",
    "RunNotFound",
    "RunRefused",
    "RunState",
    "RunTimedOut",
    "Step",
    "StepResult",
    "StepState",
    "StepView",
    "StillRunning",
    "StoreUnavailable",
    "TenantId",
    "Tier",
    "Tools",
    "TransientError",
    "Turn",
    "UserId",
    "Worker",
    "WorkerSettings",
    "sequence",
]
