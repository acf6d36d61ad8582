"""What users come for, composed of the other domains."""

__all__: tuple[str, ...] = ()
