"""Who may do what: accounts, tokens, roles."""

__all__: tuple[str, ...] = ()
