"""What a gateway process is told by its environment, as types."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from pydantic import Field, ImportString, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from netra_sessions.handshake import Authentication
from netra_sessions.policy import GatewayPolicy

OpenAuthentication = Callable[["GatewaySettings"], AbstractAsyncContextManager[Authentication]]


class GatewaySettings(BaseSettings):
    """The variables `NETRA_GATEWAY_…`; those of the policy as `NETRA_GATEWAY_POLICY__HEARTBEAT=PT20S`.

    `authentication` names, as `package.module:function`, what is called with these settings and opens an
    `Authentication`: an async context manager, so that a verifier may follow revocations while it is open.
    `keys_file` is for that function.
    """

    model_config = SettingsConfigDict(env_prefix="NETRA_GATEWAY_", env_nested_delimiter="__", frozen=True)

    redis_url: SecretStr
    database_url: SecretStr
    authentication: ImportString[Any]
    keys_file: Path | None = None
    namespace: str = Field(default="netra", min_length=1, max_length=128)
    host: str = "127.0.0.1"
    port: int = Field(default=8_765, ge=0, le=65_535)
    origins: tuple[str, ...] = ()
    policy: GatewayPolicy = GatewayPolicy()
