"""Settings that can't drift."""

__all__: tuple[str, ...] = ()
