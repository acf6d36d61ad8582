"""The tools that a process knows, by name and version."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from netra_tools.errors import ToolNotFound
from netra_tools.tool import Tool


class ToolDefinition(BaseModel):
    """What a model is told of a tool, to call it."""

    model_config = ConfigDict(frozen=True)

    name: str
    description: str
    parameters: Mapping[str, JsonValue]


class ToolRegistry:
    """Tools by name; of several versions of one name the last to be registered is the one called by name."""

    def __init__(self, tools: Iterable[Tool[Any, Any]] = ()) -> None:
        self._versions: dict[tuple[str, str], Tool[Any, Any]] = {}
        self._newest: dict[str, Tool[Any, Any]] = {}
        for tool in tools:
            self.register(tool)

    def __iter__(self) -> Iterator[Tool[Any, Any]]:
        return iter(self._versions.values())

    def register(self, tool: Tool[Any, Any]) -> None:
        """Add *tool*.

        Raises:
            ValueError: this version of it is here already.
        """
        identity = (tool.name, tool.version)
        if identity in self._versions:
            raise ValueError(f"version {tool.version} of the tool {tool.name} is registered already")
        self._versions[identity] = self._newest[tool.name] = tool

    def find(self, name: str, version: str | None = None) -> Tool[Any, Any]:
        """Return a tool, of the version given or the last registered.

        Raises:
            ToolNotFound: there is none.
        """
        found = self._newest.get(name) if version is None else self._versions.get((name, version))
        if found is None:
            raise ToolNotFound
        return found

    def definitions(self) -> tuple[ToolDefinition, ...]:
        """Describe the tools that can be called by name, sorted by it, as models are told of them."""
        return tuple(
            ToolDefinition(name=tool.name, description=tool.description, parameters=tool.input.schema)
            for _, tool in sorted(self._newest.items())
        )
