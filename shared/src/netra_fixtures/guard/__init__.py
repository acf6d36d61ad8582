"""Refuse mocks in integration tests, with the line that brought them in.

Twice: the module is read before its tests run, and each test is watched while it runs.
"""

from netra_fixtures.guard.refusal import Finding, MockRefused
from netra_fixtures.guard.source import findings, findings_for, refusal_at_collection
from netra_fixtures.guard.watch import MockWatch, guarding

__all__ = [
    "Finding",
    "MockRefused",
    "MockWatch",
    "findings",
    "findings_for",
    "guarding",
    "refusal_at_collection",
]
