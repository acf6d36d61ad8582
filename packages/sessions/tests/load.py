"""Many screens in a process of their own: each reads its events and says what it saw, and how late.

Standard input gives a line of JSON: gateways, tokens, and how many events each screen waits for.
"""

import asyncio
import json
import resource
import sys
from datetime import UTC, datetime

from netra_sessions import RealtimeClient
from netra_sessions.events import Gap


async def screen(client: RealtimeClient, count: int) -> list[tuple[str, str, float]]:
    """Read *count* events: whose, which, and how many milliseconds after it was published."""
    seen = []
    while len(seen) < count:
        event = await client.next()
        assert not isinstance(event, Gap), "an event was lost"
        late = datetime.now(UTC) - event.time
        seen.append((event.user, event.event_id, late.total_seconds() * 1000))
    return seen


async def main() -> None:
    """Open all screens, say so, and report when each has seen its share."""
    told = json.loads(sys.stdin.readline())
    clients = [RealtimeClient(told["uris"], lambda token=token: token) for token in told["tokens"]]
    for start in range(0, len(clients), 50):
        await asyncio.gather(*(client.__aenter__() for client in clients[start : start + 50]))
    print("ready", flush=True)
    seen = await asyncio.gather(*(screen(client, told["count"]) for client in clients))
    print(json.dumps(seen), flush=True)
    await asyncio.to_thread(sys.stdin.readline)  # stay connected until told otherwise
    await asyncio.gather(*(client.__aexit__(None, None, None) for client in clients))


files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
asyncio.run(main())
