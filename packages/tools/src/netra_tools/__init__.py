"""What agents do in the world: typed tool calls."""

__all__: tuple[str, ...] = ()
