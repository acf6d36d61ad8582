"""What files and environment variables say, read by pydantic-settings into one layer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue, create_model
from pydantic_core import to_jsonable_python
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    JsonConfigSettingsSource,
    SettingsError,
    TomlConfigSettingsSource,
)

from netra_config.errors import InputRefused, brief
from netra_config.layers import merge, problem

_BETWEEN = "__"  # NETRA_LIMITS__RETRIES is limits.retries


class _Given(EnvSettingsSource):
    """Environment variables that were handed over, not the process's own."""

    def __init__(self, model: type[BaseSettings], variables: Mapping[str, str], prefix: str) -> None:
        self._given = variables
        super().__init__(model, env_prefix=prefix, env_nested_delimiter=_BETWEEN)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._given.items()}


def read_environment(
    schema: type,
    *,
    files: tuple[Path, ...] = (),
    variables: Mapping[str, str] | None = None,
    prefix: str = "NETRA_",
) -> dict[str, JsonValue]:
    """Read the layer of the environment: *files* one over another, and *variables* on top.

    Args:
        files: ``.toml``, ``.json`` or ``.env``.
        variables: usually `os.environ`; ``NETRA_LIMITS__RETRIES`` sets ``limits.retries``.

    Raises:
        InputRefused: a file is missing, of another kind, or can't be read; a variable can't either.
    """
    fields: Any = getattr(schema, "__pydantic_fields__", {})
    wanted: Any = {name: (field.rebuild_annotation(), None) for name, field in fields.items()}
    model = create_model("Environment", __base__=BaseSettings, **wanted)
    layers = [_read_file(model, file, prefix) for file in files]
    try:
        layers.append(_jsonable(_Given(model, variables or {}, prefix)()))
    except (SettingsError, ValueError, RecursionError):
        raise InputRefused(
            "an environment variable", f"write values of {prefix}… as text, or as JSON"
        ) from None
    return merge(*layers)


def _read_file(model: type[BaseSettings], file: Path, prefix: str) -> dict[str, JsonValue]:
    name = f"the file {brief(file.name)}"
    try:
        if not file.is_file():
            raise InputRefused(name, "name one that exists")
        match file.suffix:
            case ".toml":
                return _jsonable(TomlConfigSettingsSource(model, toml_file=file)())
            case ".json":
                return _jsonable(JsonConfigSettingsSource(model, json_file=file)())
            case ".env":
                return _jsonable(
                    DotEnvSettingsSource(
                        model, env_file=file, env_prefix=prefix, env_nested_delimiter=_BETWEEN
                    )()
                )
    except InputRefused:
        raise
    except OSError:
        raise InputRefused(name, "name one that can be read") from None
    except (SettingsError, ValueError, TypeError, RecursionError):
        raise InputRefused(name, "correct its syntax") from None
    raise InputRefused(name, "write it as .toml, .json or .env")


def _jsonable(values: Mapping[str, Any]) -> dict[str, JsonValue]:
    read: dict[str, JsonValue] = to_jsonable_python(dict(values))
    if (wrong := problem(read)) is not None:
        raise ValueError(wrong)
    return read
