"""`python -m netra_fixtures.report merge DIR…`: one report of the shards of a run."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from netra_fixtures import report
from netra_fixtures.errors import ReportMissing, ReportsDontMerge
from netra_fixtures.report.merged import merge
from netra_fixtures.report.model import RunReport
from netra_fixtures.report.parts import Verdict

SUMMARY = "GITHUB_STEP_SUMMARY"  # where a job of GitHub Actions takes Markdown for its page


def main(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """Do what *arguments* say, and give the exit status: 1 where the whole does not hold."""
    parser = argparse.ArgumentParser(prog="python -m netra_fixtures.report", description=__doc__)
    commands = parser.add_subparsers(required=True)
    merging = commands.add_parser("merge", help="make one report of those in several folders")
    merging.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="holds a report.json")
    merging.add_argument("--into", type=Path, default=Path("reports/latest"), help="default: %(default)s")
    chosen = parser.parse_args(arguments)
    try:
        whole = merge([_read(folder) for folder in chosen.folders], report.history.read(chosen.into))
        _write(whole, chosen.folders, chosen.into)
    except (ReportMissing, ReportsDontMerge, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if summary := environ.get(SUMMARY):
        with Path(summary).open("a", encoding="utf-8") as page:
            page.write((chosen.into / "report.md").read_text(encoding="utf-8"))
    print(*report.summary(whole, chosen.into), sep="\n")
    return 0 if whole.run.verdict is Verdict.PASSED else 1


def _read(folder: Path) -> RunReport:
    found = report.read(folder)
    if found is None:
        raise ReportMissing(folder)
    return found


def _write(whole: RunReport, folders: Iterable[Path], into: Path) -> None:
    with tempfile.TemporaryDirectory() as beside:
        junit = Path(beside, "junit.xml")
        suites = [
            one.read_text(encoding="utf-8") for folder in folders if (one := folder / "junit.xml").exists()
        ]
        if suites:
            junit.write_text(_one_junit(suites), encoding="utf-8")
        report.write(whole, into, run=whole.run.id, attachments={"junit.xml": junit})
    report.history.keep(whole, into)


def _one_junit(suites: Iterable[str]) -> str:
    """Put the test suites of several files by pytest into one."""
    inner = "".join(text[text.index("<testsuite ") : text.rindex("</testsuites>")] for text in suites)
    return f'<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests">{inner}</testsuites>'


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
