"""What agents do in the world: typed tool calls that run once, are kept, and end in time."""

from netra_tools.cache import CacheUse
from netra_tools.call import Call, Outcome
from netra_tools.dialect import json_schema_of
from netra_tools.errors import (
    CallRefused,
    CircuitOpen,
    InvalidArguments,
    KeyReused,
    PermissionDenied,
    ResultRefused,
    RunCancelled,
    RunEnded,
    RunNotFound,
    StillRunning,
    StoreUnavailable,
    ToolError,
    ToolFailed,
    ToolNotFound,
    ToolsError,
    ToolTimedOut,
    TransientError,
)
from netra_tools.events import EventSink
from netra_tools.executor import Permits, ToolExecutor
from netra_tools.policy import ExecutorPolicy
from netra_tools.registry import ToolDefinition, ToolRegistry
from netra_tools.retry import RetryPolicy
from netra_tools.run import Caller, Run, RunId, RunState, TenantId, UserId
from netra_tools.tool import BreakerPolicy, CachePolicy, Context, Tool, WhenLost, schema_tool

__all__ = [
    "BreakerPolicy",
    "CachePolicy",
    "CacheUse",
    "Call",
    "CallRefused",
    "Caller",
    "CircuitOpen",
    "Context",
    "EventSink",
    "ExecutorPolicy",
    "InvalidArguments",
    "KeyReused",
    "Outcome",
    "PermissionDenied",
    "Permits",
    "ResultRefused",
    "RetryPolicy",
    "Run",
    "RunCancelled",
    "RunEnded",
    "RunId",
    "RunNotFound",
    "RunState",
    "StillRunning",
    "StoreUnavailable",
    "TenantId",
    "Tool",
    "ToolDefinition",
    "ToolError",
    "ToolExecutor",
    "ToolFailed",
    "ToolNotFound",
    "ToolRegistry",
    "ToolTimedOut",
    "ToolsError",
    "TransientError",
    "UserId",
    "WhenLost",
    "json_schema_of",
    "schema_tool",
]
