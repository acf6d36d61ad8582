"""The tools of any MCP server are tools like all others: checked before they run, kept, cached, and cancelled."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from netra_fixtures import Goal, StartProgram, Tier, business_value, eventually, within
from netra_tools import (
    CachePolicy,
    CacheUse,
    Call,
    Caller,
    InvalidArguments,
    StoreUnavailable,
    ToolExecutor,
    ToolFailed,
)

if TYPE_CHECKING:
    from netra_tools.mcp import McpServer

pytestmark = [
    pytest.mark.timeout(180),
    business_value(
        tier=Tier.EARLY,
        goals={Goal.RETENTION, Goal.EFFICIENCY},
        impact="customers bring the tools that they have, without a line of code",
    ),
]

OpenTools = Callable[..., Awaitable[ToolExecutor]]
Connect = Callable[..., "McpServer"]
PROGRAM = Path(__file__).with_name("mcp_server.py")
STARTED = [sys.executable, str(PROGRAM)]
DEADLINE = timedelta(seconds=100)


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@asynccontextmanager
async def listening(start_program: StartProgram, port: int) -> AsyncIterator[str]:
    """Start the server on a port, and give its address once it listens."""
    process = await start_program(PROGRAM, str(port))

    async def answers() -> None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            raise AssertionError("it does not listen yet") from error
        writer.close()
        await writer.wait_closed()

    try:
        await eventually(answers, seconds=100)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
def connect() -> Connect:
    """Make a connection to a server, by its address or by the command that starts it."""
    from mcp import StdioServerParameters  # large: who runs none of these tests doesn't wait for it

    from netra_tools.mcp import McpServer

    def to(server: str | list[str], **rules: Any) -> McpServer:
        if isinstance(server, str):
            return McpServer(server, **rules)
        return McpServer(StdioServerParameters(command=server[0], args=server[1:]), **rules)

    return to


@pytest.fixture(params=["stdio", "http"])
async def server(
    request: pytest.FixtureRequest, start_program: StartProgram
) -> AsyncIterator[str | list[str]]:
    """How to reach a real MCP server: started over its standard streams, or listening."""
    if request.param == "stdio":
        yield STARTED
    else:
        async with listening(start_program, free_port()) as url:
            yield url


async def test_tools_of_an_mcp_server_are_tools(
    open_tools: OpenTools, connect: Connect, server: str | list[str], alice: Caller
) -> None:
    """What another program offers is found, described to models, called and kept."""
    async with connect(server, prefix="tests.", deadline=DEADLINE) as mcp, within(seconds=150):
        tools = await open_tools(*await mcp.tools(cache=CachePolicy(), timeout=DEADLINE))
        definitions = {one.name: one for one in tools._registry.definitions()}
        add = Call("tests.add", {"a": 1, "b": 2})

        first, second = [await tools.run(add, caller=alice) for _ in range(2)]
        greeting = await tools.run(Call("tests.greet", {"name": "Ada"}), caller=alice)
        with pytest.raises(ToolFailed):
            await tools.run(Call("tests.greet", {"name": ""}), caller=alice)
        for arguments in ({"a": 1}, {"a": "x", "b": 2}, []):
            with pytest.raises(InvalidArguments):
                await tools.run(Call("tests.add", arguments), caller=alice)

    assert (first.result, first.cache, second.cache) == ({"result": 3}, CacheUse.STORED, CacheUse.HIT)
    assert greeting.result["content"][0]["text"] == "hello Ada"
    assert definitions["tests.add"].description == "Add two numbers."
    assert definitions["tests.add"].parameters["required"] == ["a", "b"]


@pytest.mark.parametrize("server", ["http://127.0.0.1:9/mcp", ["/no/such"]], ids=str)
async def test_a_server_that_is_not_there_is_told(connect: Connect, server: str | list[str]) -> None:
    """An address that is wrong is said at the start, not in the middle of a customer's run."""
    async with within(seconds=100):
        with pytest.raises(StoreUnavailable, match="MCP server"):
            async with connect(server, deadline=timedelta(seconds=10)):
                pass


async def test_a_server_that_was_restarted_is_found_again(
    open_tools: OpenTools, connect: Connect, start_program: StartProgram, alice: Caller
) -> None:
    """A deployment of somebody else's server is a hiccup, and no reason to restart ours."""
    port, add = free_port(), Call("add", {"a": 1, "b": 2})

    async with within(seconds=150), AsyncExitStack() as opened:
        async with listening(start_program, port) as url:
            mcp = await opened.enter_async_context(connect(url, deadline=DEADLINE))
            tools = await open_tools(*await mcp.tools(timeout=DEADLINE, breaker=None))
            await tools.run(add, caller=alice)
        with pytest.raises(ToolFailed) as gone:
            await tools.run(add, caller=alice)
        async with listening(start_program, port):
            again = await tools.run(add, caller=alice)

    assert gone.value.error == "TransientError"
    assert again.result == {"result": 3}


async def test_a_server_is_started_once_until_it_dies(
    open_tools: OpenTools, connect: Connect, tmp_path: Path, alice: Caller
) -> None:
    """Callers who lose patience while a server starts leave no heap of servers behind, and a dead one is replaced."""
    started = tmp_path / "started"
    slow = f"[ -e {started} ] || wait=1; echo x >> {started}; sleep ${{wait:-0}}; exec {' '.join(STARTED)}"
    server = connect(["sh", "-c", slow], deadline=DEADLINE)

    async with within(seconds=150), AsyncExitStack() as opened:
        opened.push_async_exit(server)
        for _ in range(3):
            asking = asyncio.create_task(server.tools())
            await asyncio.wait({asking}, timeout=0.2)
            asking.cancel()
            await asyncio.wait({asking})
        offered = await server.tools(timeout=DEADLINE)
        once = started.read_text()
        tools = await open_tools(*offered)

        with pytest.raises(ToolFailed, match="was lost"):
            await tools.run(Call("die", {}), caller=alice)
        again = await tools.run(Call("add", {"a": 1, "b": 2}), caller=alice)

    assert [tool.name for tool in offered] == ["add", "greet", "die"]
    assert again.result == {"result": 3}
    assert (once, started.read_text()) == ("x\n", "x\n" * 2)
