"""What Python tells of itself as it happens; its audit hooks can't be removed, so the kit sets one and no more."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Listener = Callable[[tuple[Any, ...]], None]

_listeners: dict[str, Listener] = {}


def listen(event: str, listener: Listener) -> None:
    """Have *listener* called with the arguments of each such event, for good; what raised it is two frames up.

    Args:
        event: a name of Python's audit events table; each has one listener, the first to come.
    """
    if not _listeners:
        sys.addaudithook(_heard)
    _listeners.setdefault(event, listener)


def _heard(
    event: str, args: tuple[Any, ...], find: Callable[[str], Listener | None] = _listeners.get
) -> None:
    # bound here: events come until the very end, when this module's names are gone
    listener = find(event)
    if listener is not None:
        listener(args)
