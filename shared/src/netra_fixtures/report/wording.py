"""The words and figures that the terminal, the page and the Markdown share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext

from netra_fixtures.report.model import Counter, DeliveredOutcome, Evidence, RunReport, Test
from netra_fixtures.report.parts import Outcome, Verdict

VERDICTS = {
    Verdict.PASSED: "It holds",
    Verdict.FAILED: "It does not hold",
    Verdict.INCOMPLETE: "The run is incomplete",
    Verdict.NOTHING: "Nothing was proved",
}
OUTCOMES = {
    Outcome.PASSED: "passed",
    Outcome.FAILED: "failed",
    Outcome.ERROR: "error",
    Outcome.SKIPPED: "skipped",
    Outcome.XFAILED: "known gap",
    Outcome.XPASSED: "gap closed",
}
UNITS = {
    "bytes_received": "byte received",
    "control_frames": "frame of control",
    "refused": "upgrade refused",
    "rows_written": "row written",
}  # where taking the s off the end does not give the noun for one


@dataclass(frozen=True, slots=True)
class Proof:
    """What passed on one link, over all workers, and what the server says about it."""

    link: str
    counted: Mapping[str, int]
    difference: Mapping[str, int]
    agrees: bool
    notes: tuple[str, ...] = ()
    explained: frozenset[str] = frozenset()

    @property
    def counts(self) -> str:
        """What was counted on the wire, in words."""
        return ", ".join(amount(number, name) for name, number in self.counted.items())

    @property
    def most(self) -> str:
        """The greatest count but that of bytes, in words."""
        name = max(
            (n for n in self.counted if not n.startswith("bytes")), key=self.counted.__getitem__, default=""
        )
        return amount(self.counted[name], name) if name else self.counts

    @property
    def word(self) -> str:
        """How it stands with the servers' own counters, in a word."""
        off = {name for name, number in self.difference.items() if number}
        if off:
            return "explained" if off <= self.explained else "differs"
        return "confirmed" if self.agrees else "not compared"

    @property
    def comparison(self) -> str:
        """What the servers' own counters say to that, in words."""
        off = {name: number for name, number in self.difference.items() if number}
        why = f" ({'; '.join(self.notes)})" if self.notes else ""
        if off:
            missed = ", ".join(amount(number, name) for name, number in off.items())
            return f"differs from the server's own count by {missed}{why}"
        if not self.agrees:
            return f"not held against the server{why}"
        apart = set(self.counted) - set(self.difference)
        return "the server counted the same" + (f" {_nouns(self.difference)}" if apart else "")


def proofs(report: RunReport) -> list[Proof]:
    """Add up the counters of all workers; where there are none, what the tests saw."""
    links = list(dict.fromkeys(counter.link for counter in report.run.counters))
    found = [_proof(link, [one for one in report.run.counters if one.link == link]) for link in links]
    seen: dict[str, dict[str, int]] = {}
    for test in report.tests:
        for link, counts in test.evidence.model_dump().items():
            seen[link] = added(seen.get(link, {}), counts)
    return found + [
        Proof(link=link, counted=counts, difference={}, agrees=False)
        for link, counts in seen.items()
        if link not in links and any(counts.values())
    ]


def _proof(link: str, counters: Sequence[Counter]) -> Proof:
    counted: dict[str, int] = {}
    difference: dict[str, int] = {}
    for counter in counters:
        counted = added(counted, counter.counted)
        difference = added(difference, {name: abs(n) for name, n in counter.difference.items()})
    return Proof(
        link=link,
        counted=counted,
        difference=difference,
        agrees=all(counter.agrees for counter in counters),
        notes=tuple(dict.fromkeys(note for counter in counters for note in counter.note.split("; ") if note)),
        explained=frozenset(
            name
            for name in difference
            if all(name in counter.explained for counter in counters if counter.difference.get(name))
        ),
    )


def _nouns(names: Iterable[str]) -> str:
    return joined(name.replace("_", " ") for name in names)


def added(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    """Add numbers by name."""
    return {name: left.get(name, 0) + right.get(name, 0) for name in (*left, *right)}


def amount(number: int, name: str) -> str:
    """Give a number its noun: 1 row written, 2 rows written."""
    one = UNITS.get(name, name.replace("_", " ").removesuffix("s"))
    if number == 1:
        return f"1 {one}"
    noun, _, rest = one.partition(" ")
    return f"{number:,} {noun}s {rest}".rstrip()


def counts(report: RunReport) -> str:
    """Tests by outcome, without those that did not happen."""
    totals = report.totals
    parts = [
        (totals.failed, "failed"),
        (totals.errors, "errors" if totals.errors != 1 else "error"),
        (totals.passed, "passed"),
        (totals.skipped, "skipped"),
        (totals.xfailed, "known gaps" if totals.xfailed != 1 else "known gap"),
        (totals.xpassed, "gaps closed" if totals.xpassed != 1 else "gap closed"),
        (totals.not_run, "not run"),
    ]
    return ", ".join(f"{number:,} {word}" for number, word in parts if number) or "no tests ran"


def remarks(report: RunReport) -> list[str]:
    """Say what a reader of the verdict must know beside it."""
    missed = [budget.name for budget in report.budgets if not budget.held]
    differing = [proof.link for proof in proofs(report) if proof.word == "differs"]
    return [
        *([f"Cut short: {report.run.cut_short}."] if report.run.cut_short else []),
        *([f"Slower than budgeted: {joined(missed)}."] if missed else []),
        *([f"The wire and the server's own counters differ: {joined(differing)}."] if differing else []),
        *([f"Passed only when run again: {amount(reruns, 'tests')}."] if (reruns := _reruns(report)) else []),
    ]


def _reruns(report: RunReport) -> int:
    return sum(bool(test.reruns) and test.outcome is Outcome.PASSED for test in report.tests)


def workers(report: RunReport) -> str:
    """How many processes ran tests, and which part of the whole that was."""
    shard = report.run.shard
    part = f", shard {shard.number} of {shard.of}" if shard else ""
    return ("1 worker" if report.run.workers == 1 else f"{report.run.workers} workers") + part


def evidence(seen: Evidence) -> str:
    """What passed over the wire during one test, without what was not touched."""
    parts = [
        (seen.postgres.transactions, "transactions"),
        (seen.postgres.rows_written, "rows_written"),
        (seen.redis.commands, "commands"),
        (seen.websocket.frames, "frames"),
    ]
    return ", ".join(amount(number, name) for number, name in parts if number)


def delivered(amount: Decimal, unit: str) -> str:
    """Give an amount that a test delivered with its unit; seconds as people say them: 6 h 30 min."""
    if unit != "seconds":
        told = f"{amount:,f}"  # exact, without the zeros that a numeric of PostgreSQL ends with
        return f"{told.rstrip('0').rstrip('.') if '.' in told else told} {unit}"
    if amount < 60:
        return seconds(float(amount))
    minutes, rest = divmod(int(amount), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{number:,} {noun}" for number, noun in parts if number)


def delivered_in_all(outcomes: Iterable[DeliveredOutcome]) -> list[tuple[str, str, int]]:
    """Add up outcomes of one name and unit: (name, amount with its unit, number of outcomes), by name."""
    sums: dict[tuple[str, str], tuple[Decimal, int]] = {}
    with localcontext(Context(prec=1000)):  # money is not rounded
        for one in outcomes:
            amount, number = sums.get((one.name, one.unit), (Decimal(0), 0))
            sums[one.name, one.unit] = amount + one.amount, number + 1
    return [
        (name, delivered(amount, unit), number) for (name, unit), (amount, number) in sorted(sums.items())
    ]


def sentence(test: Test) -> str:
    """Say what a test proves: its docstring, else its name."""
    if test.doc:
        return test.doc
    path, _, rest = test.nodeid.partition("::")
    name, bracket, parameters = (rest or path).rpartition("::")[2].partition("[")
    return name.removeprefix("test_").replace("_", " ") + (f" [{parameters}" if bracket else "")


def milliseconds(ms: float | None) -> str:
    """Three digits at most: 0.042 ms, 1.7 ms, 120 ms, 5 s."""
    if ms is None:
        return "none"
    if ms >= 1000:
        return seconds(ms / 1000)
    return f"{_three_digits(ms)} ms"


def seconds(s: float) -> str:
    """Three digits at most: 0.042 s, 14.2 s, 4 min 10 s."""
    if s < 120:
        return f"{_three_digits(s)} s"
    return f"{int(s // 60)} min {int(s % 60)} s"


def _three_digits(number: float) -> str:
    if number < 0.0005:
        return "0" if number == 0 else "<0.001"
    places = 0 if number >= 100 else 1 if number >= 10 else 2 if number >= 1 else 3
    text = f"{number:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def joined(words: Iterable[str]) -> str:
    """a, b and c."""
    *most, last = list(words) or [""]
    return f"{', '.join(most)} and {last}" if most else last
