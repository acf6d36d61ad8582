"""What was found as a document that a person reads, and as a table that a spreadsheet opens without harm."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final

from netra_workflows.advice import Advice, Step, Wave
from netra_workflows.analysis import Analysis
from netra_workflows.model import NO_CURRENCY, Ingested, Total

_FORMULA: Final = ("=", "+", "-", "@", "|", "%")
_MARKS: Final = re.compile(r"([\\`*_{}\[\]<>()#|~!&])")
_BLANK: Final = re.compile(r"\s+")
SHOWN: Final = 80


def markdown(advice: Advice, analysis: Analysis, missing: Iterable[str] = ()) -> str:
    """Write the report: what it comes to, what to do, what it rests on.

    What stands in bills is text here, whatever it says: no markup, no link, at most 80 characters of it.

    Args:
        missing: names of uploads that could not be read.
    """
    parts = [
        "# Savings", *_verdict(advice), "## Plan", *_plan(advice.plan), "## Findings", *_findings(analysis),
        "## Commitments", *_commitments(analysis), "## Spend", *_spend(analysis),
        "## Read", *_read(analysis.read), *_missing(missing),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def findings_csv(analysis: Analysis) -> str:
    """Write findings as CSV; a cell that a spreadsheet would take for a formula begins with an apostrophe."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        (
            "rule",
            "published",
            "provider",
            "account",
            "currency",
            "billed",
            "at_stake",
            "saving",
            "rows",
            "resources",
            "why",
        )
    )
    for f in analysis.findings:
        rows = sum(len(own.records) for own in f.rows)
        told = (f.rule.id, f.rule.published, f.provider, f.account, f.currency)
        amounts = (f"{amount:f}" for amount in (f.billed, f.at_stake, f.saving))
        ends = map(_harmless, (" ".join(f.resources), f.why))
        writer.writerow((*map(_harmless, told), *amounts, rows, *ends))
    return text.getvalue()


def _harmless(cell: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in cell)
    return f"'{line}" if line.lstrip(" ").startswith(_FORMULA) else line


def plain(told: str, shown: int = SHOWN) -> str:
    """Make what others wrote into one line that can be printed."""
    short = _BLANK.sub(" ", "".join(c if c.isprintable() else " " for c in told)).strip()
    return short if len(short) <= shown else short[: shown - 1] + "…"


def _text(told: str, shown: int = SHOWN) -> str:
    return _MARKS.sub(r"\\\1", plain(told, shown))


def money(amount: Decimal, currency: str) -> str:
    """Write an amount to the cent."""
    return f"{amount.quantize(Decimal('0.01')):,} {currency}"


def priced(amount: Decimal, currency: str) -> str:
    """Write an amount to the cent, or that there is none: an inventory may tell no price at all."""
    return "no price" if currency == NO_CURRENCY and not amount else money(amount, currency)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], none: str) -> str:
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *lines]) if lines else none


def _verdict(advice: Advice) -> Iterator[str]:
    if not advice.sums:
        yield "Nothing was found that could have cost less."
    for own in advice.sums:
        yield (
            f"**{money(own.a_month, own.currency)} a month**, {money(own.a_year, own.currency)} a year could be"
            f" saved; getting there costs about {money(own.cost, own.currency)} once."
        )
    yield from (f"> {_text(warning, 4 * SHOWN)}" for warning in advice.warnings)


def _plan(steps: Sequence[Step]) -> Iterator[str]:
    head = ("step", "do", "at", "a month", "effort", "certainty", "risk", "a year's return")
    for wave in Wave:
        own = [step for step in steps if step.wave is wave]
        if own:
            yield f"### {wave.value.capitalize()}"
            yield _table(
                head,
                (
                    (
                        step.number, _text(r.action, 4 * SHOWN),
                        f"{_text(r.provider)}: {r.resources} resources, {r.rows} rows",
                        priced(r.a_month, r.currency), r.effort, r.certainty, _text(r.risk),
                        "" if r.years_return is None else f"{r.years_return} x",
                    )
                    for step in own for r in (step.recommendation,)
                ),
                "",
            )  # fmt: skip
    if not steps:
        yield "There is nothing to do."


def _findings(analysis: Analysis) -> Iterator[str]:
    yield _table(
        ("why", "account", "at stake", "saving", "rows"),
        (
            (
                _text(f.why, 4 * SHOWN), f"{_text(f.provider)} {_text(f.account)}", priced(f.at_stake, f.currency),
                priced(f.saving, f.currency), sum(len(rows.records) for rows in f.rows),
            )
            for f in analysis.findings
        ),
        "There are no findings.",
    )  # fmt: skip


def _commitments(analysis: Analysis) -> Iterator[str]:
    for plan in analysis.plans:
        bought = ", ".join(f"{_text(c.programme)}: {c.an_hour} an hour" for c in plan.commitments)
        yield (
            f"With {_text(plan.provider)}, buy {bought}. Over {plan.hours} hours that costs"
            f" {money(plan.cost, plan.currency)} instead of {money(plan.on_demand, plan.currency)};"
            f" no plan of these offers costs less than {plan.proof.bound:,.4f} (dual bound)."
        )
    yield _table(
        ("provider", "programme", "covered", "could be covered"),
        (
            (
                _text(c.provider),
                _text(c.programme),
                money(c.covered, c.currency),
                money(c.eligible, c.currency),
            )
            for c in analysis.coverage
        ),
        "There is no spend that commitments could cover.",
    )
    if analysis.contracts:
        yield _table(
            ("contract", "commitment", "agreed on", "used", "unused"),
            (
                (
                    _text(c.contract), _text(c.commitment), "" if c.cost is None else money(c.cost, c.currency),
                    money(c.used, c.currency), money(c.unused, c.currency),
                )
                for c in analysis.contracts
            ),
            "",
        )  # fmt: skip


def _spend(analysis: Analysis) -> Iterator[str]:
    yield _table(
        ("provider", "billed", "usage", "purchases", "tax", "credits", "adjustments"),
        (
            (_text(t.provider), *(money(amount, t.currency) for amount in _amounts(t)))
            for t in analysis.totals
        ),
        "No bill was read.",
    )  # fmt: skip
    if analysis.tokens:
        yield _table(
            ("requests", "model", "number", "tokens in", "tokens out", "cost by price list"),
            (
                (_text(t.source), _text(t.model), t.requests, t.input, t.output, money(t.cost, "USD"))
                for t in analysis.tokens
            ),
            "",
        )
    yield _table(
        ("provider", "usage", "without a tag"),
        (
            (_text(t.provider), money(t.usage, t.currency), money(t.untagged, t.currency))
            for t in analysis.tagging
        ),
        "No bill tells tags.",
    )


def _amounts(total: Total) -> Iterator[Decimal]:
    yield from (total.billed, total.usage, total.purchases, total.tax, total.credits, total.adjustments)


def _read(read: Iterable[Ingested]) -> Iterator[str]:
    yield _table(
        ("upload", "format", "rows", "refused", "notes"),
        ((_text(r.source), r.format, r.rows, r.refused, _text("; ".join(r.notes), 4 * SHOWN)) for r in read),
        "Nothing was read.",
    )


def _missing(missing: Iterable[str]) -> Iterator[str]:
    if names := ", ".join(map(_text, sorted(missing))):
        yield f"Could not be read, and does not count: {names}."
