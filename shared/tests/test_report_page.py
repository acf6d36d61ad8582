"""The page, the Markdown and the terminal tell the same run, each to its reader."""

import base64
import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from netra_fixtures.budgets import BUDGETS, Samples
from netra_fixtures.report import Collector, RunReport, state, summary, wording
from netra_fixtures.report.charts import HEIGHT, WIDTH
from netra_fixtures.report.markdown import markdown
from netra_fixtures.report.page import page
from netra_fixtures.report.wording import milliseconds

from .reported import NASTY, STARTED, Add

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Seen(HTMLParser):
    """A page as a browser reads it: elements with their attributes, and text; it objects to bad nesting."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes nothing"
        self.text += " " if tag in ("td", "th") else ""

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element called *tag*."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def finish(collector: Collector) -> Callable[[], RunReport]:
    def finish() -> RunReport:
        return collector.finish(ended_at=STARTED + timedelta(seconds=14.2), exit_status=0, workers=2)

    return finish


def test_what_tests_say_is_shown_as_text(nasty: RunReport) -> None:
    """A docstring, a parameter or an error message never becomes a part of the page."""
    seen = Seen(page(nasty))

    assert len(seen.all("script")) == 1
    assert not seen.all("img")
    assert seen.text.count(NASTY) > 10
    assert not [name for _, attributes in seen.elements for name in attributes if name.startswith("on")]


def test_the_page_needs_no_network(full: RunReport) -> None:
    """It opens from a mail or an archive years later, and nobody learns that it was opened."""
    source = page(full)
    seen = Seen(source)

    assert [a["href"] for a in seen.all("a") if not str(a["href"]).startswith("#")] == [
        "report.json",
        "report.md",
    ]
    assert not {"link", "img", "iframe", "object"} & {tag for tag, _ in seen.elements}
    assert not re.search(r"url\(|@import|https?://|fetch\(|\bimport\b", source)


def test_the_page_runs_its_own_script_and_no_other(full: RunReport) -> None:
    """Whatever a test manages to smuggle into the page, a browser does not execute it."""
    source = page(full)

    (policy,) = [a["content"] for a in Seen(source).all("meta") if "http-equiv" in a]
    hashes = {}
    for kind in ("style", "script"):
        ((inside),) = re.findall(rf"<{kind}>(.*?)</{kind}>", source, re.DOTALL)
        hashes[kind] = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'"
    )
    assert not re.search(r"<[^>]+ style=", source)


def test_the_page_shows_every_part_of_the_run(full: RunReport) -> None:
    """Whoever opens it finds the verdict, what proves it, for whom it matters and what failed."""
    text = " ".join(Seen(page(full)).text.split())

    for shown in [
        "It does not hold", "1 failed, 1 passed, 1 skipped", "14.2 s on 2 workers", "seed 7",
        "Slower than budgeted: database operation.", "The wire and the server's own counters differ: redis.",
        "PostgreSQL 9.1", "Valkey 9.1", "no engine", "9 transactions the server counted the same",
        "differs from the server's own count by 1 command (killed once)", "killed once",
        "Theft shows.", "A token works once.", "For every tier: nobody is signed out",
        "1 transaction, 4 rows written, 2 commands", "1,234.5 USD", "no data",
        "AssertionError: no row", "auth.users: 3 rows, the last 2", "7 null 8 ann", "focus/bill.csv", "ab" * 32,
        "auth.roles: 1 row of the migrations changed or gone", "auth.grants: it is locked by ann", "and 2 tables more",
        "1 transaction is still open", "9 keys, the first 1", "netra-a:gw0:ann hash, 2 fields 60 s seat of ann: 2",
        "It is gone. Run the test again and keep it: pytest --keep-failed ann",
    ]:  # fmt: skip
        assert shown in text, shown


def test_the_page_can_be_used_without_a_mouse_or_without_sight(full: RunReport) -> None:
    """Landmarks, captions, headers of rows and columns, words for every drawing, links that lead somewhere."""
    seen = Seen(page(full))

    ids = [attributes["id"] for _, attributes in seen.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {str(a["href"])[1:] for a in seen.all("a") if str(a["href"]).startswith("#")}
    assert targets <= set(ids)
    assert {a["aria-labelledby"] for a in seen.all("section")} <= set(ids)
    assert len(seen.all("caption")) == len(seen.all("table")) > 0
    assert {a.get("scope") for a in seen.all("th")} == {"row", "col"}
    assert all("aria-label" in a or a.get("aria-hidden") == "true" for a in seen.all("svg"))
    assert all(len(seen.all(landmark)) == 1 for landmark in ("header", "nav", "main", "footer", "h1"))
    assert all(a["tabindex"] == "0" for a in seen.all("pre"))
    levels = [int(tag[1]) for tag, _ in seen.elements if re.fullmatch(r"h[1-6]", tag)]
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_what_was_delivered_is_added_up_by_kind_and_unit(add: Add, finish: Callable[[], RunReport]) -> None:
    """Dollars and euros are two sums, no cent is lost in a large one, and hours are hours."""
    large, cent = "12345678901234567890123456789", "0.01000"
    for number, (name, amount, unit) in enumerate([
        ("savings found", large, "USD"), ("savings found", cent, "USD"), ("savings found", "7", "EUR"),
        ("work automated", "5400.000000", "seconds"), ("work automated", "45", "seconds"),
        ("insights delivered", "1200", "insights"),
    ]):  # fmt: skip
        add(f"a.py::test_{number}", outcomes=[{"name": name, "amount": amount, "unit": unit}])

    for shown in (" ".join(Seen(page(finish())).text.split()), re.sub(r"\\| \|", "", markdown(finish()))):
        for row in [
            "savings found 12,345,678,901,234,567,890,123,456,789.01 USD 2", "savings found 7 EUR 1",
            "work automated 1 h 30 min 45 s 2", "work automated 45 s", "insights delivered 1,200 insights 1",
        ]:  # fmt: skip
            assert row in shown


def test_a_thousand_tests_stay_below_a_megabyte(add: Add, finish: Callable[[], RunReport]) -> None:
    """A page that is slow to open is a page that nobody opens; with longer texts than ours it is quick."""
    evidence = {"postgres": {"transactions": 12, "rows_written": 340}, "redis": {"commands": 21}}
    for number in range(1000):
        goals = ["user retention", "platform stability"]
        add(
            f"packages/auth/tests/test_{number // 10}.py::test_{'a_token_works_' * 8}{number}[asyncio-{number}]",
            doc=f"Two holders of one token {number} cannot both be the user, so neither stays signed in, {'x' * 60}.",
            promise=f"A refresh token works once; a second use is read as theft, {number // 10}.",
            value={"tier": "free", "goals": goals, "impact": f"a stolen token {number // 10} cannot be used"},
            evidence=evidence,
        )

    assert len(page(finish()).encode()) < 1_000_000


def test_a_run_of_nothing_is_shown_as_that(finish: Callable[[], RunReport]) -> None:
    """An empty run has a page too, and it does not say that all is well."""
    report = finish()

    assert "Nothing was proved" in Seen(page(report)).text
    assert "Nothing was proved" in markdown(report)
    assert summary(report)[0].startswith("Nothing was proved: no tests ran")


def test_a_single_slow_operation_among_many_is_visible_in_its_drawing(
    add: Add, finish: Callable[[], RunReport]
) -> None:
    """The one that took a minute is what the drawing is looked at for, and it stays inside the frame."""
    samples = Samples()
    for _ in range(10_000):
        samples.record(0.2)
    samples.record(60_000)
    add("a.py::test_a", budgets={"redis operation": samples.to_json()})

    bars = [a for a in Seen(page(finish())).all("rect") if str(a.get("class")).startswith("bar")]

    assert [(a["class"], float(a["height"] or 0)) for a in bars] == [("bar", HEIGHT), ("bar late", 2)]
    assert float(bars[1]["x"] or 0) + float(bars[1]["width"] or 0) <= WIDTH


def test_differences_of_two_workers_do_not_cancel_out(
    collector: Collector, finish: Callable[[], RunReport]
) -> None:
    """One command too many here and one too few there are two that nobody can explain."""
    for worker, counted in [("gw0", 5), ("gw1", 3)]:
        counter = {"link": "redis", "counted": {"commands": counted}, "server": {"commands": 4}}
        collector.add_worker({"worker": worker, "counters": [counter]})

    assert "redis  8 commands: differs from the server's own count by 2 commands" in summary(finish())


def test_markdown_keeps_its_tables_whatever_the_texts_hold(nasty: RunReport) -> None:
    """A bar in a reason adds no column, and nothing becomes a heading, a link or an element."""
    tables = re.findall(r"(?m)(?:^\|.*\n)+", markdown(nasty))

    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1
    assert len(tables) > 5
    outside_fences = re.sub(r"(?ms)^(`{3,})text$.*?^\1$", "", markdown(nasty))
    assert not re.search(r"(?<!\\)<", outside_fences)


def test_markdown_fences_hold_messages_that_hold_fences(add: Add, finish: Callable[[], RunReport]) -> None:
    """A message that ends a code block early would format the rest of the report."""
    add("a.py::test_a", "failed", "```` # not a heading")

    assert "\n`````text\n```` # not a heading\n`````\n" in markdown(finish())


def test_the_terminal_says_what_ran_and_what_proves_it(full: RunReport) -> None:
    """A glance tells verdict, servers, evidence and speed."""
    assert summary(full, Path("reports/latest")) == [
        "It does not hold: 1 failed, 1 passed, 1 skipped in 14.2 s, 2 workers (3 integration, 0 unit); seed 7",
        "postgres  PostgreSQL 9.1, embedded, up in 0.2 s (no engine)",
        "redis     Valkey 9.1, embedded, up in 0.2 s (no engine)",
        "postgres  9 transactions: the server counted the same",
        "redis     5 commands: differs from the server's own count by 1 command (killed once)",
        "database operation  p95 700 ms of 100 ms missed (1 measured, p50 700 ms, max 700 ms)",
        "redis operation     p95 8 ms of 10 ms held (5 measured, p50 2.04 ms, max 8 ms)",
        "report: reports/latest/index.html",
    ]


def test_the_terminal_says_in_short_what_a_failed_test_left(full: RunReport) -> None:
    """A glance tells whether the state explains the failure, and how to look closer."""
    assert state.terminal(full) == [
        "state of packages/auth/tests/test_a.py::test_lost: auth.users 3 rows, auth.roles 1 row of the migrations"
        " changed or gone, auth.grants not read, 2 more, keys netra-…:gw0:ann (hash, 2 fields), 8 more",
        "  ann could not be read",
        "  1 transaction is still open",
        "  auth.grants: it is locked by ann",
        "  keep it: pytest --keep-failed ann",
    ]


def test_the_terminal_never_takes_more_than_twelve_lines(
    collector: Collector, add: Add, finish: Callable[[], RunReport]
) -> None:
    """What held makes room for what did not."""
    fast, slow = Samples(), Samples()
    fast.record(0.1)
    slow.record(400_000)
    budgets = {name: fast.to_json() for name in BUDGETS} | {"workflow": slow.to_json()}
    add("a.py::test_a", budgets=budgets)
    for number in range(4):
        service = {"name": f"s{number}", "server": "S", "version": "1", "backend": "b", "start_s": 0.1}
        counter = {"link": f"s{number}", "counted": {"commands": 1}, "server": {"commands": 1}}
        collector.add_worker({"worker": "main", "services": [service], "counters": [counter]})

    lines = summary(finish(), Path("reports/latest"))

    assert len(lines) == 12
    assert lines[9].startswith("workflow ")
    assert "missed" in lines[9]
    assert lines[10] == "… and 5 budgets more in the report"


@pytest.mark.parametrize(
    ("given", "shown"),
    [(0, "0 ms"), (0.00012, "<0.001 ms"), (0.0421, "0.042 ms"), (1.749, "1.75 ms"), (12.34, "12.3 ms"),
     (120.4, "120 ms"), (999.96, "1000 ms"), (5000, "5 s"), (300_000, "5 min 0 s"), (None, "none")],
)  # fmt: skip
def test_durations_are_as_exact_as_they_can_be_read(given: float | None, shown: str) -> None:
    """Three digits tell fast from slow; more would only look exact."""
    assert milliseconds(given) == shown


def test_a_difference_counts_as_explained_only_where_each_part_of_it_is(full: RunReport) -> None:
    """A reason for one figure must not cover up another that has none."""
    counter = full.run.counters[0].model_copy(
        update={
            "link": "postgres",
            "difference": {"rows_written": -2, "transactions": -1},
            "note": "triggers",
        }
    )

    for explained, word in [
        ((), "differs"),
        (("rows_written",), "differs"),
        (("rows_written", "transactions"), "explained"),
    ]:
        counters = (counter.model_copy(update={"explained": explained}),)
        report = full.model_copy(update={"run": full.run.model_copy(update={"counters": counters})})
        (proof,) = (one for one in wording.proofs(report) if one.link == "postgres")
        assert proof.word == word
        assert any("counters differ" in remark for remark in wording.remarks(report)) is (word == "differs")
