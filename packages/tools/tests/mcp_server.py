"""A real MCP server for the tests, as a process of its own."""

import os
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("tests", version="1.2", log_level="CRITICAL")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(structured_output=False)
def greet(name: str) -> str:
    """Greet somebody."""
    if not name:
        raise ValueError("whom?")
    return f"hello {name}"


@server.tool()
def die() -> int:
    """End the server without a word."""
    os._exit(1)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run("stdio")
