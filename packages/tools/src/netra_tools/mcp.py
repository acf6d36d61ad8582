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
        self._turn = asyncio.Lock()
        self._leave = asyncio.Event()
        self._client: Client | None = None
        self._staying: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            StoreUnavailable: the server can't be started or reached.
        """
        try:
            await self._connected()
        except TransientError as error:
            raise StoreUnavailable("the MCP server") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._hang_up(self._client)

    async def tools(self, **rules: Any) -> tuple[Tool[Any, Any], ...]:
        """List the server's tools, each under the same *rules*, which `Tool` takes.

        Raises:
            StoreUnavailable: the server does not answer.
            ValueError: a tool has a name or a schema that can't be used.
        """
        offered, cursor = list[Offered](), None
        try:
            async with asyncio.timeout(self._deadline):
                client = await self._connected()
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
        client = await self._connected()
        try:
            answer = await client.call_tool(name, arguments)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                await self._hang_up(client)
                raise TransientError("the connection to the MCP server was lost") from error
            raise ToolError(f"the MCP server refuses the call ({error.code})") from error
        except (OSError, RuntimeError) as error:
            await self._hang_up(client)
            raise TransientError("the connection to the MCP server was lost") from error
        if answer.is_error:
            raise ToolError(_text(answer)[:_LONGEST] or "the MCP server's tool failed")
        if answer.structured_content is not None:
            return answer.structured_content
        return {"content": [part.model_dump(mode="json", exclude_none=True) for part in answer.content]}

    async def _connected(self) -> Client:
        async with self._turn:
            if self._client is not None and self._staying is not None and not self._staying.done():
                return self._client
            opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
            self._leave = asyncio.Event()
            self._staying = asyncio.create_task(self._stay(opened, self._leave))
            either: set[asyncio.Future[Any]] = {opened, self._staying}
            await asyncio.wait(either, timeout=self._deadline, return_when=asyncio.FIRST_COMPLETED)
            if not opened.done():
                await self._end()
                raise TransientError("the MCP server can't be reached")
            self._client = opened.result()
            return self._client

    async def _stay(self, opened: "asyncio.Future[Client]", leave: asyncio.Event) -> None:
        """Hold the connection in one task from its beginning to its end, as its own tasks want it."""
        async with Client(self._server) as client:
            opened.set_result(client)
            await leave.wait()

    async def _hang_up(self, client: Client | None) -> None:
        """Close the connection of *client*, unless another has taken its place already."""
        async with self._turn:
            if client is not self._client:
                return
            self._leave.set()
            if self._staying is not None:
                await asyncio.wait({self._staying}, timeout=self._deadline)
            await self._end()

    async def _end(self) -> None:
        staying, self._staying, self._client = self._staying, None, None
        if staying is not None:
            staying.cancel()
            await asyncio.wait({staying})
            if not staying.cancelled():
                staying.exception()  # a lost connection is told to those who call


def _text(answer: CallToolResult) -> str:
    return "\n".join(part.text for part in answer.content if isinstance(part, TextContent))
