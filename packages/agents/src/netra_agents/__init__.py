"""Runs in which several agents work together."""

__all__: tuple[str, ...] = ()
