"""The folder a run leaves, replaced whole: a crash leaves the old report or none, never half of one."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from netra_fixtures.report.markdown import markdown
from netra_fixtures.report.model import RunReport
from netra_fixtures.report.page import page

STALE_S = 3600
ASIDES = [
    f".old{attempt}" for attempt in range(10)
]  # another run may put its report there between the two renames


def begun(directory: Path, run: str) -> Path:
    """Say how the folders begin that *run* makes beside *directory*; one that was killed may leave them."""
    return directory.absolute().with_name(f".{directory.name}.{run}")


def write(
    report: RunReport,
    directory: Path,
    *,
    run: str = "run",
    attachments: Mapping[str, Path] | None = None,
) -> None:
    """Write report.json, report.md and index.html, and put *directory* in place of the one before.

    Args:
        directory: reports/latest, say; what it held is gone afterwards.
        run: the run's name, which tells its unfinished folder from others'.
        attachments: files or folders to move into it, by the name they get there: junit.xml, snapshots;
            one that does not exist is left out.

    Raises:
        OSError: it can't be written there, or something other than a report stands there.
    """
    directory = directory.absolute()
    if _is_something_else(directory):
        raise FileExistsError(errno.EEXIST, "what stands there is no report", str(directory))
    directory.parent.mkdir(parents=True, exist_ok=True)
    _sweep(directory)
    beside = begun(directory, run)
    fresh = beside.with_name(f"{beside.name}.{secrets.token_hex(8)}.new")
    try:
        fresh.mkdir()
        (fresh / "report.json").write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (fresh / "report.md").write_text(markdown(report), encoding="utf-8")
        (fresh / "index.html").write_text(page(report), encoding="utf-8")
        for name, source in (attachments or {}).items():
            if source.exists():
                shutil.move(source, fresh / name)
        _replace(directory, fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _is_something_else(directory: Path) -> bool:
    """Tell whether a file stands there, or a folder of somebody's own: its name may have been mistyped."""
    while True:
        try:
            opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            return True
        try:
            names = os.listdir(opened)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(opened), directory.stat()):  # another run may have replaced it
                    return bool(names) and "report.json" not in names
        finally:
            os.close(opened)


def _replace(directory: Path, fresh: Path) -> None:
    asides = [fresh.with_suffix(aside) for aside in ASIDES]
    try:
        for aside in asides:
            with suppress(FileNotFoundError):
                directory.rename(aside)
            try:
                fresh.rename(directory)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise
            else:
                return
        raise FileExistsError(errno.EEXIST, "other runs keep writing their reports here", str(directory))
    finally:
        for aside in asides:
            _remove(aside)


def _sweep(directory: Path) -> None:
    """Remove what runs left that were killed while they wrote and had no supervisor to do it."""
    for left in directory.parent.glob(f".{glob.escape(directory.name)}.*"):
        with suppress(OSError):
            if left.suffix in (".new", *ASIDES) and time.time() - left.stat().st_mtime > STALE_S:
                _remove(left)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def read(directory: Path) -> RunReport | None:
    """Read the report that stands in *directory*; None where there is none that this version can read."""
    try:
        return RunReport.model_validate_json((directory / "report.json").read_bytes())
    except (OSError, ValidationError):
        return None
