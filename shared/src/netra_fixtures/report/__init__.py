"""The report of a run: collected from pytest, written as JSON, Markdown and a page, told in the terminal."""

from netra_fixtures.report import history
from netra_fixtures.report.collector import Collector
from netra_fixtures.report.folder import begun, read, write
from netra_fixtures.report.model import RunReport, schema_text
from netra_fixtures.report.tables import domain_of
from netra_fixtures.report.terminal import summary, write_summary

__all__ = [
    "Collector",
    "RunReport",
    "begun",
    "domain_of",
    "history",
    "read",
    "schema_text",
    "summary",
    "write",
    "write_summary",
]
