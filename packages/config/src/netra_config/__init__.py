"""Settings that can't drift: one schema, validated revisions, sealed secrets and feature flags."""

from netra_config.drift import Drift, DriftKind
from netra_config.environment import read_environment
from netra_config.errors import (
    ConfigError,
    FlagNotFound,
    ForeignKey,
    InputRefused,
    NotPermitted,
    RevisionInvalid,
    RevisionNotFound,
    SealBroken,
    SecretRefused,
    StoreUnavailable,
    UnknownKey,
    VersionConflict,
)
from netra_config.flags import Condition, Decision, Flag, Reason, Rule, Share
from netra_config.openfeature import ConfigProvider
from netra_config.policy import ConfigPolicy
from netra_config.revision import (
    Difference,
    Edit,
    Environment,
    Fault,
    FaultKind,
    Health,
    Proposal,
    Refused,
    Revision,
    TenantId,
)
from netra_config.running import Running
from netra_config.schema import FrozenMapping, settings
from netra_config.secrets import Key
from netra_config.service import ConfigService

__all__ = [
    "Condition",
    "ConfigError",
    "ConfigPolicy",
    "ConfigProvider",
    "ConfigService",
    "Decision",
    "Difference",
    "Drift",
    "DriftKind",
    "Edit",
    "Environment",
    "Fault",
    "FaultKind",
    "Flag",
    "FlagNotFound",
    "ForeignKey",
    "FrozenMapping",
    "Health",
    "InputRefused",
    "Key",
    "NotPermitted",
    "Proposal",
    "Reason",
    "Refused",
    "Revision",
    "RevisionInvalid",
    "RevisionNotFound",
    "Rule",
    "Running",
    "SealBroken",
    "SecretRefused",
    "Share",
    "StoreUnavailable",
    "TenantId",
    "UnknownKey",
    "VersionConflict",
    "read_environment",
    "settings",
]
