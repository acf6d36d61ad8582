"""What a worker process is told by its environment, as types."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from pydantic import Field, ImportString, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from netra_agents.agent import Tools
from netra_agents.events import EventSink
from netra_agents.plan import Plan
from netra_agents.policy import AgentsPolicy


@dataclass(frozen=True)
class Equipment:
    """What a worker works with: the plans that it knows, its agents' tools, and where events go."""

    plans: Sequence[Plan[Any, Any]]
    tools: Tools | None = None
    sink: EventSink | None = None


class WorkerSettings(BaseSettings):
    """The variables `NETRA_AGENTS_…`; those of the policy as `NETRA_AGENTS_POLICY__LAPSE=PT2S`.

    `equipment` names, as `package.module:function`, what is called with these settings and opens an `Equipment`: an
    async context manager, so that tools and a sink may hold connections while it is open.
    """

    model_config = SettingsConfigDict(env_prefix="NETRA_AGENTS_", env_nested_delimiter="__", frozen=True)

    database_url: SecretStr
    redis_url: SecretStr
    equipment: ImportString[Any]
    namespace: str = Field(default="netra", min_length=1, max_length=128)
    policy: AgentsPolicy = AgentsPolicy()


OpenEquipment = Callable[[WorkerSettings], AbstractAsyncContextManager[Equipment]]
