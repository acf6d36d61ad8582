"""Measure the kit and the domains against bare references, in turns; ``python bench [--quick] [subject …]``.

A limit that is missed is reported and fails nothing; a subject that can't be measured does.
"""

import argparse
import contextlib
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import agents
import auth
import config
import gateway
import isolation
import passwords
import runs
import services
import sessions
import tools
import wire
import workflows
from figures import Figure, Machine, Report, Unmeasured
from kit import standing
from turns import Subject

RESULT = Path(__file__).absolute().parents[1] / "reports" / "bench.json"
TOTAL_S = 600
SUBJECT_S = 90


class OutOfTime(KeyboardInterrupt):
    """A subject took too long; it is interrupted as Ctrl-C would, through event loops too."""


def measure_isolation(subject: Subject) -> Iterator[Figure]:
    """Measure what stands between two tests."""
    with standing() as kit:
        yield from isolation.measure_emptying(subject, kit)
        yield from isolation.measure_cloning(subject, kit)
        yield from isolation.measure_redis(subject, kit)


def measure_evidence(subject: Subject) -> Iterator[Figure]:
    """Measure the tap."""
    with standing() as kit:
        yield from wire.measure(subject, kit)


SUBJECTS: dict[str, Callable[[Subject], Iterator[Figure]]] = {
    "isolation": measure_isolation,
    "evidence": measure_evidence,
    "share": runs.measure_share,
    "services": services.measure,
    "plugin": runs.measure_plugin,
    "nox": runs.measure_nox,
    "sessions": sessions.measure,
    "auth": auth.measure,
    "passwords": passwords.measure,
    "config": config.measure,
    "gateway": gateway.measure,
    "tools": tools.measure,
    "workflows": workflows.measure,
    "agents": agents.measure,
}


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Interrupt the block after *seconds*."""

    def interrupt(*_: object) -> NoReturn:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def measured(names: list[str], *, quick: bool) -> Report:
    """Measure the subjects one after another, each within its time and all within theirs."""
    began = time.monotonic()
    machine = Machine.here()
    figures: list[Figure] = []
    unmeasured: list[Unmeasured] = []
    for name in names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        left = TOTAL_S - (time.monotonic() - began)
        try:
            with within(max(1, min(SUBJECT_S, left))):
                for figure in SUBJECTS[name](Subject(name, quick)):
                    figures.append(figure)
        except OutOfTime:
            unmeasured.append(
                Unmeasured(subject=name, reason="it took too long; measure it alone, or with --quick")
            )
        except Exception as error:
            traceback.print_exc()
            unmeasured.append(
                Unmeasured(subject=name, reason=f"{type(error).__name__}: {error}".splitlines()[0])
            )
    return Report(
        machine=machine, quick=quick, duration_s=round(time.monotonic() - began, 1), figures=tuple(figures),
        unmeasured=tuple(unmeasured),
    )  # fmt: skip


def main() -> int:
    """Measure what was asked for, write it down and show it."""
    parser = argparse.ArgumentParser(prog="python bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "subjects", nargs="*", metavar="subject", help=f"which to measure: {', '.join(SUBJECTS)} (all)"
    )
    parser.add_argument("--quick", action="store_true", help="take a fifth of the turns")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.subjects if name not in SUBJECTS]:
        parser.error(f"no subject {unknown[0]!r}; there are {', '.join(SUBJECTS)}")
    # an exit unwinds, so that nothing is left behind
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    report = measured(chosen.subjects or list(SUBJECTS), quick=chosen.quick)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(report.model_dump_json(indent=2) + "\n")
    print(report.table())
    return 1 if report.unmeasured else 0


if __name__ == "__main__":
    sys.exit(main())
