"""The same flags through OpenFeature's SDK, for code that is written against it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, TypeMismatchError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType
from openfeature.provider import AbstractProvider, Metadata

from netra_config.errors import FlagNotFound
from netra_config.flags import Decision

T = TypeVar("T")
Decide = Callable[[str, str, Mapping[str, Any]], Decision]


class ConfigProvider(AbstractProvider):
    """Resolve flags by `ConfigService.decide`; ``tenant`` and ``tier`` are attributes of the evaluation context.

    Args:
        decide: the service's method.
    """

    def __init__(self, decide: Decide) -> None:
        super().__init__()
        self._decide = decide

    def get_metadata(self) -> Metadata:
        """Name the provider."""
        return Metadata(name="netra-config")

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Resolve a flag whose variants are true and false."""
        return self._resolve(flag_key, evaluation_context, lambda value: isinstance(value, bool))

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Resolve a flag whose variants are texts."""
        return self._resolve(flag_key, evaluation_context, lambda value: isinstance(value, str))

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Resolve a flag whose variants are whole numbers."""
        return self._resolve(flag_key, evaluation_context, lambda value: type(value) is int)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Resolve a flag whose variants are numbers."""
        return self._resolve(flag_key, evaluation_context, lambda value: type(value) in (int, float))

    def resolve_object_details(
        self, flag_key: str, default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:  # fmt: skip
        """Resolve a flag whose variants are lists or mappings, into a copy of one's own."""
        details = self._resolve(
            flag_key, evaluation_context, lambda value: isinstance(value, tuple | Mapping)
        )
        details.value = _copied(details.value)
        return details

    def _resolve(
        self, flag: str, context: EvaluationContext | None, fits: Callable[[Any], bool]
    ) -> FlagResolutionDetails[Any]:
        key, attributes = (context.targeting_key, context.attributes) if context else (None, {})
        try:
            value, variant, reason = self._decide(flag, key or "", attributes)
        except FlagNotFound as error:
            raise FlagNotFoundError(str(error)) from error
        if not fits(value):
            raise TypeMismatchError("the flag's variants are of another type; ask for theirs")
        return FlagResolutionDetails(value=value, variant=variant, reason=reason.value)


def _copied(value: Any) -> Any:
    """Make lists and dicts, which the SDK asks for, of what nobody can change."""
    if isinstance(value, tuple):
        return [_copied(one) for one in value]
    return {key: _copied(one) for key, one in value.items()} if isinstance(value, Mapping) else value
