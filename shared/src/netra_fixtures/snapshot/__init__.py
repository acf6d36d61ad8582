"""The state of a failed test, taken before the kit empties its database and its Redis; with --keep-failed, kept."""

from netra_fixtures.snapshot.taking import LEFT_ALONE, Snapshots, Taken

__all__ = ["LEFT_ALONE", "Snapshots", "Taken"]
