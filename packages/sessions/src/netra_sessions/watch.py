"""Show a user's events in the terminal as they come: `python -m netra_sessions.watch ws://…/events`."""

import argparse
import asyncio
import os
import sys
from contextlib import suppress

from rich.console import Console
from rich.text import Text

from netra_sessions.client import RealtimeClient
from netra_sessions.errors import SessionsError
from netra_sessions.events import START, Gap, RunEvent

_COLOURS = {"agent_failed": "red", "agent_completed": "green", "agent_started": "cyan"}


def shown(event: "RunEvent | Gap") -> Text:
    """Write one line; what came from outside can't move the cursor or colour the terminal."""
    if isinstance(event, Gap):
        return Text(f"-- events after {event.after} may be missing --", style="bold yellow")
    data = event.data.model_dump_json()
    return Text.assemble(
        (event.time.astimezone().strftime("%H:%M:%S "), "dim"),
        (f"{event.kind:16}", _COLOURS.get(event.kind, "default")),
        (f" {_printable(event.run)} ", "dim"),
        _printable(data),
    )


async def watch(uri: str, token: str, *, after: str | None, console: Console) -> None:
    """Print the events of the token's user until cancelled.

    Raises:
        HandshakeRefused: the gateway refused the token.
        SessionEnded: the session ended.
        ValueError: *uri* is no address, or *after* no position.
    """
    async with RealtimeClient(uri, lambda: token, after=after) as events:
        console.print(Text("watching", style="dim"))
        async for event in events:
            console.print(shown(event), soft_wrap=True)


def main() -> int:
    """Read the arguments and watch."""
    parser = argparse.ArgumentParser(prog="python -m netra_sessions.watch", description=__doc__)
    parser.add_argument("uri", help="where a gateway listens")
    parser.add_argument("--after", help=f"the position to begin after; {START} for all that is kept")
    parser.add_argument("--token-variable", default="NETRA_TOKEN", help="the variable that holds the token")
    chosen = parser.parse_args()
    token = os.environ.get(chosen.token_variable)
    if not token:
        parser.error(f"set {chosen.token_variable} to an access token")
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(watch(chosen.uri, token, after=chosen.after, console=Console()))
    except ValueError as error:
        parser.error(str(error))
    except SessionsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


if __name__ == "__main__":
    sys.exit(main())
