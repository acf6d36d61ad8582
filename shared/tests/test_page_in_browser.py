"""The report's page in a real browser: it opens from disk, alone, and everybody can read and use it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from netra_fixtures.report import Collector, RunReport, history, write
from netra_fixtures.report.page import page as rendered

from .reported import STARTED, phase

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
LOOKS = {
    "light": {"color_scheme": "light", "viewport": WIDE},
    "dark": {"color_scheme": "dark", "viewport": WIDE},
    "narrow": {"color_scheme": "light", "viewport": NARROW},
    "narrow and dark": {"color_scheme": "dark", "viewport": NARROW},
}
FAINT = """() => {
  const parse = (text) => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const ground = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(parse(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((under, [r, g, b, a]) =>
      [r, g, b].map((part, at) => part * a + under[at] * (1 - a)), [255, 255, 255]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("script, .unseen, .skip")) continue;
    const style = getComputedStyle(element);
    const inside = element instanceof SVGElement;
    const [over, under] = [light(parse(inside ? style.fill : style.color).slice(0, 3)), light(ground(element))];
    const contrast = (Math.max(over, under) + 0.05) / (Math.min(over, under) + 0.05);
    if (contrast < 4.5) faint.push(`${walker.currentNode.data.trim()}: ${contrast.toFixed(2)}`);
  }
  return faint;
}"""  # WCAG 2.2, 1.4.3: text contrasts with its ground by 4.5 to 1 at least

CUT_OFF = """() => Array.from(document.querySelectorAll("html, .verdict, .card, .tile, .failure, .module"))
  .filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.className || "page")"""


@dataclass
class Watched:
    """A page that is open, with what it asked for and complained about."""

    page: "Page"
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def shown(self) -> list[str]:
        """Read the sentences of the tests that can be seen among the promises."""
        items = self.page.locator(".tests > li:visible p")
        return [text.strip() for text in items.all_inner_texts()]

    def focused(self) -> str:
        """Say what has the keyboard: its text, or its name."""
        return str(
            self.page.evaluate(
                "() => { const e = document.activeElement; return e.id || e.name || e.textContent.trim(); }"
            )
        )

    def tab_to(self, name: str) -> None:
        """Press Tab until *name* has the keyboard."""
        for _ in range(60):
            if self.focused() == name:
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"{name} can't be reached by Tab")


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright isn't installed here; nox -s browser runs this"
    )
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"there is none of {', '.join(BROWSERS)} on PATH")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


class Open:
    """Opens a report from disk, the way a person does."""

    def __init__(self, browser: "Browser", folder: Path) -> None:
        self._browser = browser
        self._folder = folder

    def __call__(self, report: RunReport, **looks: Any) -> Watched:
        write(report, self._folder)
        context = self._browser.new_context(reduced_motion="reduce", **looks)
        watched = Watched(context.new_page())
        watched.page.on("request", lambda request: watched.asked.append(request.url))
        watched.page.on("console", lambda message: watched.complaints.append(message.text))
        watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        watched.page.on("dialog", lambda dialog: watched.complaints.append(dialog.message))
        watched.page.goto((self._folder / "index.html").as_uri())
        return watched


@pytest.fixture
def opened(browser: "Browser", tmp_path: Path) -> Iterator[Open]:
    yield Open(browser, tmp_path / "latest")
    for context in browser.contexts:
        context.close()


@pytest.fixture
def changed(tmp_path: Path) -> RunReport:
    """A run with a test that is flaky, one that is new and one that is slower, after four others."""
    report = None
    for number, outcome in enumerate(["passed", "failed", "passed", "failed", "passed"]):
        collector = Collector(run_id=f"r{number}", started_at=STARTED.replace(minute=number), seed=None)
        collector.add(phase("a.py::test_flaky", outcome=outcome, longrepr="why"))
        collector.add(phase("a.py::test_slower", duration=905 if number == 4 else 145))
        if number == 4:
            collector.add(phase("a.py::test_new"))
        past = history.read(tmp_path / "latest")
        report = collector.finish(ended_at=STARTED.replace(minute=number, second=9), exit_status=0, past=past)
        history.keep(report, tmp_path / "latest")
    assert report is not None
    return report


@pytest.mark.parametrize("looks", LOOKS.values(), ids=LOOKS)
def test_the_page_opens_alone_and_can_be_read(opened: Open, full: RunReport, looks: dict[str, Any]) -> None:
    """By day, by night and on a telephone: no request, no complaint, nothing faint and nothing cut off."""
    watched = opened(full, **looks)

    watched.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")

    assert watched.asked == [watched.page.url]
    assert watched.complaints == []
    assert watched.page.evaluate(FAINT) == []
    assert watched.page.evaluate(CUT_OFF) == []


@pytest.mark.parametrize("looks", LOOKS.values(), ids=LOOKS)
def test_what_changed_can_be_read(opened: Open, changed: RunReport, looks: dict[str, Any]) -> None:
    """What is new, flaky and slower stands at the top and in a part of its own."""
    watched = opened(changed, **looks)

    text = watched.page.locator("section", has=watched.page.locator("#changes")).inner_text()

    for shown in ("Flaky: 1", "✓✗✓✗✓", "New: 1", "Slower: 1", "The last 5 runs"):
        assert shown in text
    assert watched.complaints == []
    assert watched.page.evaluate(FAINT) == []
    assert watched.page.evaluate(CUT_OFF) == []


def test_what_tests_say_runs_no_script(opened: Open, nasty: RunReport) -> None:
    """A test can't make the page do anything, whatever it calls itself."""
    watched = opened(nasty)

    assert watched.asked == [watched.page.url]
    assert watched.complaints == []


def test_a_script_that_is_not_the_pages_own_does_not_run(
    opened: Open, full: RunReport, tmp_path: Path
) -> None:
    """Even where something slipped into the page as markup, the browser refuses it."""
    watched = opened(full)
    forged = tmp_path / "forged.html"
    forged.write_text(rendered(full).replace("</main>", "<script>document.title = 'forged'</script></main>"))

    watched.page.goto(forged.as_uri())

    assert watched.page.title().startswith("It does not hold")
    assert any("Content Security Policy" in complaint for complaint in watched.complaints)


def test_tests_are_found_by_keyboard_alone(opened: Open, full: RunReport) -> None:
    """From the top of the page to the one test that somebody asks about, without a mouse."""
    watched = opened(full)
    keyboard = watched.page.keyboard

    watched.tab_to("Find a test")
    keyboard.press("Enter")
    assert watched.focused() == "find"
    keyboard.type("ROW lost")

    assert watched.shown() == ["No row is lost."]
    assert watched.page.get_by_role("status").inner_text() == "1 of 3 tests"
    keyboard.press("Escape")
    assert watched.page.get_by_role("status").inner_text() == "3 of 3 tests"


@pytest.mark.parametrize(
    ("field", "keys", "shown"),
    [
        ("domain", ["t"], ["data"]),
        ("tier", ["f"], ["A token works once."]),
        ("goal", ["u"], ["A token works once."]),
        ("goal", ["r"], []),
        ("outcome", ["Space"], ["A token works once.", "data"]),
    ],
)
def test_tests_are_filtered_by_keyboard_alone(
    opened: Open, full: RunReport, field: str, keys: list[str], shown: list[str]
) -> None:
    """By domain, by tier, by goal and by result, each of which a key reaches; the first result is "failed"."""
    watched = opened(full)

    watched.tab_to("find")
    watched.tab_to(field)
    for key in keys:
        watched.page.keyboard.press(key)

    assert watched.shown() == shown
    assert watched.page.get_by_role("status").inner_text() == f"{len(shown)} of 3 tests"
    assert watched.page.get_by_text("No test has all of that.").is_visible() is (not shown)
    watched.page.keyboard.press("Escape")
    assert watched.page.get_by_role("status").inner_text() == "3 of 3 tests"


def test_the_state_of_a_failed_test_can_be_read(opened: Open, full: RunReport) -> None:
    """Whoever is told that a test failed sees why, and the rows and keys that it left."""
    watched = opened(full)
    page = watched.page

    page.get_by_role("banner").get_by_role("link", name="No row is lost.").click()

    failure = page.locator("#failure-1")
    assert failure.evaluate("one => one.getBoundingClientRect().top") < WIDE["height"]
    assert failure.get_by_text("AssertionError: no row").is_visible()
    assert failure.get_by_role("row", name="7 null").is_visible()
    assert failure.get_by_role("row", name="netra-a:gw0:ann hash, 2 fields 60 s").is_visible()


def test_a_screen_reader_finds_its_way(opened: Open, full: RunReport) -> None:
    """Landmarks, headings and what changes while somebody types have names that can be heard."""
    page = opened(full).page

    for role, name in [
        ("banner", ""), ("main", ""), ("contentinfo", ""), ("navigation", "Parts of the report"),
        ("search", "Tests"), ("heading", "It does not hold"), ("heading", "Failures"), ("heading", "Budgets"),
        ("searchbox", "Find"), ("combobox", "Domain"), ("checkbox", "failed"), ("table", "Files that tests read"),
    ]:  # fmt: skip
        found = page.get_by_role(role, name=name) if name else page.get_by_role(role)  # type: ignore[arg-type]
        assert found.first.is_visible(), (role, name)
    drawing = page.get_by_role("img", name="redis operation: 5 measured, half within 2.04 ms")
    assert drawing.first.is_visible()


def test_without_its_script_the_page_lacks_nothing_but_the_filter(opened: Open, full: RunReport) -> None:
    """Where scripts are forbidden, every promise still opens and every test is there."""
    watched = opened(full, java_script_enabled=False)

    for summary in watched.page.locator(".module:not([open]) > summary").all():
        summary.press("Enter")

    assert sorted(watched.shown()) == ["A token works once.", "No row is lost.", "data"]
    assert not watched.page.get_by_role("search").is_visible()


def test_on_paper_nothing_stays_folded(opened: Open, full: RunReport) -> None:
    """What is handed to an auditor holds every test, and no button."""
    page = opened(full).page

    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")

    assert page.locator("details:not([open])").count() == 0
    assert not page.get_by_role("navigation").is_visible()
    assert not page.get_by_role("search").is_visible()
    assert page.pdf().startswith(b"%PDF")
