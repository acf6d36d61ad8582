"""The record in PostgreSQL: every SQL statement of this package, a module a noun."""
