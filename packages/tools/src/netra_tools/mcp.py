"""The tools of an MCP server, called as any others; the extra `netra-tools[mcp]`."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self

from mcp import Client, MCPError, StdioServerParameters
from mcp.types import CONNECTION_CLOSED, CallToolResult, TextContent
from mcp.types import Tool as Offered
from pydantic import JsonValue

from netra_tools.errors import StoreUnavailable, ToolError, TransientError
from netra_tools.payload import Schema
from netra_tools.tool import Context, Tool

_ANYTHING: Final[Mapping[str, JsonValue]] = {}
_LONGEST: Final = 1000


class McpServer:
    """A connection to an MCP server, made anew after it was lost.

    Args:
        server: what starts it, to talk over its standard input and output, or the URL where it listens.
        prefix: what the names of its tools begin with here, so that two servers' tools can be told apart.
        version: the version of its tools; a new one leaves what was cached of another behind.
        deadline: how long connecting, and listing the tools, may take.
    """

    def __init__(
        self, server: StdioServerParameters | str, *, prefix: str = "", version: str = "1",
        deadline: timedelta = timedelta(seconds=10),
    ) -> None:  # fmt: skip
        self._server = server
        self._prefix = prefix
        self._version = version
        self._deadline = deadline.total_seconds()
        self._line: _Line | None = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            StoreUnavailable: the server can't be started or reached.
        """
        try:
            await self._connected()
        except TransientError as error:
            raise StoreUnavailable("the MCP server") from error
        except BaseException:
            await self._hang_up(self._line)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._hang_up(self._line)

    async def tools(self, **rules: Any) -> tuple[Tool[Any, Any], ...]:
        """List the server's tools, each under the same *rules*, which `Tool` takes.

        Raises:
            StoreUnavailable: the server does not answer.
            ValueError: a tool has a name or a schema that can't be used.
        """
        offered, cursor = list[Offered](), None
        try:
            async with asyncio.timeout(self._deadline):
                client = (await self._connected()).opened.result()
                while True:
                    page = await client.list_tools(cursor=cursor)
                    offered += page.tools
                    cursor = page.next_cursor
                    if cursor is None:
                        break
        except (MCPError, TransientError, TimeoutError) as error:
            raise StoreUnavailable("the MCP server") from error
        return tuple(self._tool(one, rules) for one in offered)

    def _tool(self, offered: Offered, rules: Mapping[str, Any]) -> Tool[Any, Any]:
        async def call(arguments: Any, _: Context) -> Any:
            return await self._call(offered.name, arguments)

        told = {"description": offered.description or "", "version": self._version, **rules}
        result = Schema(offered.output_schema or _ANYTHING)
        return Tool(self._prefix + offered.name, call, Schema(offered.input_schema), result, **told)

    async def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        line = await self._connected()
        try:
            answer = await line.opened.result().call_tool(name, arguments)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                await self._hang_up(line)
                raise TransientError("the connection to the MCP server was lost") from error
            raise ToolError(f"the MCP server refuses the call ({error.code})") from error
        except (OSError, RuntimeError) as error:
            await self._hang_up(line)
            raise TransientError("the connection to the MCP server was lost") from error
        if answer.is_error:
            raise ToolError(_text(answer)[:_LONGEST] or "the MCP server's tool failed")
        if answer.structured_content is not None:
            return answer.structured_content
        return {"content": [part.model_dump(mode="json", exclude_none=True) for part in answer.content]}

    async def _connected(self) -> "_Line":
        """Connect, once for all who ask meanwhile; who loses patience leaves the connection to those who come."""
        line = self._line
        if line is None or line.staying.done():
            line = self._line = _Line(self._server)
        either: set[asyncio.Future[Any]] = {line.opened, line.staying}
        await asyncio.wait(either, timeout=self._deadline, return_when=asyncio.FIRST_COMPLETED)
        if not line.opened.done():
            await self._hang_up(line)
            raise TransientError("the MCP server can't be reached")
        return line

    async def _hang_up(self, line: "_Line | None") -> None:
        """Close a connection; another may have taken its place already."""
        if self._line is line:
            self._line = None
        if line is not None:
            await line.close(self._deadline)


class _Line:
    """A connection, held in one task from its beginning to its end, as its own tasks want it."""

    def __init__(self, server: StdioServerParameters | str) -> None:
        self.opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._leave = asyncio.Event()
        self.staying = asyncio.create_task(self._stay(server))
        self.staying.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def close(self, deadline: float) -> None:
        """End it: politely, once it was open, and in any case by the deadline."""
        self._leave.set()
        if self.opened.done():
            await asyncio.wait({self.staying}, timeout=deadline)
        self.staying.cancel()
        await asyncio.wait({self.staying}, timeout=deadline)

    async def _stay(self, server: StdioServerParameters | str) -> None:
        async with Client(server) as client:
            self.opened.set_result(client)
            await self._leave.wait()


def _text(answer: CallToolResult) -> str:
    return "\n".join(part.text for part in answer.content if isinstance(part, TextContent))
