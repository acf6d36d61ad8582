"""What tests print and say reaches the report as text that can be read."""

from netra_fixtures.report import Collector, RunReport

from .reported import Finish, phase


def test_text_that_no_page_can_hold_is_spelled_out(collector: Collector, finish: Finish) -> None:
    """Colours, control characters, half a surrogate and reversed text neither break nor forge the report."""
    collector.add(
        phase("a", outcome="failed", longrepr="\x1b[31mred\x1b[0m \x00 \udc80 \u202egnp.exe\r\nend")
    )

    report = finish()
    assert report.tests[0].failures[0].text == "red \\x00 \\udc80 \\u202egnp.exe\nend"
    assert RunReport.model_validate_json(report.model_dump_json()) == report


def test_a_text_too_long_to_read_loses_its_middle(collector: Collector, finish: Finish) -> None:
    """Ten megabytes of a diff do not make a report of ten megabytes."""
    collector.add(phase("a", outcome="failed", longrepr="begin" + "x" * 10_000_000 + "end"))

    text = finish().tests[0].failures[0].text
    assert len(text) < 25_000
    assert text.startswith("begin")
    assert text.endswith("end")
