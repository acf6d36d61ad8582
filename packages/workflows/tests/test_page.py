"""Who decides opens one page, anywhere, and reads what it comes to; no bill can write in it."""

import re
from decimal import Decimal
from html.parser import HTMLParser

from netra_workflows import Analysis, AnalysisPolicy, Bills, analyse, page, recommend

from .conftest import WriteBill
from .test_detectors import GP2, IDLE

NOTHING_TO_BUY = AnalysisPolicy(offers=())
EVIL = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</title></style><h1>mine</h1>", "{{ 7 * 7 }}",
    "&lt;b&gt;", "javascript:alert(1)", "\u202eabc", "\x1b[31mred",
]  # fmt: skip
EUROPE = {"BillingCurrency": "EUR", "BillingAccountId": "europe", "ProviderName": "Microsoft"}


class Seen(HTMLParser):
    """What a browser makes of a page: its elements, and the text that people see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.words.append(data)

    @property
    def text(self) -> str:
        """All that is read, in one line."""
        return " ".join(" ".join(self.words).split())

    def told(self, tag: str) -> list[str | None]:
        """Give the text alternatives of elements."""
        return [own.get("aria-label") for name, own in self.elements if name == tag]


def judged(bills: Bills) -> Analysis:
    """Judge without commitments."""
    return analyse(bills, NOTHING_TO_BUY)


def test_the_page_says_what_it_comes_to_in_each_currency(bills: Bills, write_bill: WriteBill) -> None:
    """Saving, bill, cost and return of dollars and of euros stand apart, and no sum of both does."""
    snapshot = {"ChargeDescription": "Premium SSD Managed Disks - Snapshots LRS", "ServiceName": "Storage"}
    bills.ingest(write_bill(IDLE, GP2, EUROPE | snapshot, {"BilledCost": "x"}))
    analysis = judged(bills)
    advice = recommend(analysis)

    seen = Seen(page(advice, analysis, ["broken.csv"]))

    for told in (
        "12.00 USD a month could be saved", "144.00 USD", "billed in 1 month 20.00 USD", "60.0 % of what is billed",
        "6.00 EUR a month could be saved", "billed in 1 month 10.00 EUR", "0.4 times the cost",
        "1 upload could not be read. 1 row was refused.", "line 5: ", "does not count: broken.csv.",
    ):  # fmt: skip
        assert told in seen.text, told
    assert "18.00" not in seen.text
    assert "6.00 USD" not in seen.text
    for step in advice.plan:
        one = step.recommendation
        assert f"{step.number}. {one.action} {one.title}" in seen.text
        assert f"effort {one.effort} certainty {one.certainty}" in seen.text
        assert f"risk {one.risk}" in seen.text
    for finding in analysis.findings:
        assert f"{finding.rule.title} {finding.why} certainty {finding.rule.certainty}" in seen.text


def test_every_drawing_says_in_words_what_it_draws(bills: Bills, write_bill: WriteBill) -> None:
    """Who can't see a bar hears its name, its amount and its part."""
    bills.ingest(write_bill(IDLE, GP2))
    analysis = judged(bills)

    told = Seen(page(recommend(analysis), analysis)).told("svg")

    assert told[:4] == [
        "60.0 % of what is billed in USD", "AWS: 12.00 USD a month, 100 % of all",
        "Public IPv4 addresses attached to nothing: 10.00 USD a month, 83 % of all",
        "EBS volumes of type gp2: 2.00 USD a month, 17 % of all",
    ]  # fmt: skip
    assert all(told)


def test_the_page_needs_nothing_but_itself(bills: Bills, write_bill: WriteBill) -> None:
    """It opens from a mail or a stick: no script, no address, and its policy lets a browser load nothing."""
    bills.ingest(write_bill(IDLE))
    analysis = judged(bills)

    html = page(recommend(analysis), analysis)

    elements = Seen(html).elements
    assert not {name for name, _ in elements} & {"script", "img", "link", "iframe", "object", "form", "base"}
    addresses = [
        value for _, own in elements for key, value in own.items() if key in ("href", "src", "action")
    ]
    assert all(str(address).startswith("#") for address in addresses)
    assert {own["id"] for _, own in elements if "id" in own} >= {str(address)[1:] for address in addresses}
    assert re.search(r"default-src (&#39;|')none(&#39;|'); style-src (&#39;|')sha256-", html)
    assert not [own for _, own in elements if "style" in own]
    assert "url(" not in html
    assert "@import" not in html


def test_no_bill_writes_into_the_page(write_bill: WriteBill) -> None:
    """Whatever a resource, account, cloud, service or file is called is read as text, and changes no element."""
    pages = []
    for cells in ([f"plain-{place}" for place, _ in enumerate(EVIL)], EVIL):
        told = [row | {"SubAccountId": cell, "ResourceId": cell} for cell in cells for row in (IDLE, GP2)]
        told += [
            dict.fromkeys(("ResourceId", "ProviderName", "ServiceName"), cell) | {"Tags": ""}
            for cell in cells
        ]
        with Bills.opened(threads=1) as own:
            own.ingest(write_bill(*told), name=cells[0])
            analysis = judged(own)
        pages.append(Seen(page(recommend(analysis), analysis, cells)))

    assert [name for name, _ in pages[1].elements] == [name for name, _ in pages[0].elements]
    assert not any(key.startswith("on") for _, own in pages[1].elements for key in own)
    assert not {"\x1b", "\u202e"} & set(pages[1].text)
    assert all(evil in pages[1].text for evil in EVIL if evil.isprintable())


def test_a_page_of_nothing_says_so(bills: Bills) -> None:
    """Who uploads nothing reads sentences, no empty chart."""
    seen = Seen(page(recommend(analyse(bills)), analyse(bills)))

    for sentence in (
        "Nothing was found that could have cost less.", "There is nothing to do.", "There are no findings.",
        "No day cost far more than usual.", "No bill was read.", "Nothing was read.",
    ):  # fmt: skip
        assert sentence in seen.text
    assert not seen.told("svg")


def test_a_long_list_is_cut_and_says_so(bills: Bills, write_bill: WriteBill) -> None:
    """A page of ten thousand accounts opens at once, and names where the rest stands."""
    bills.ingest(write_bill(*({**IDLE, "SubAccountId": f"account-{n}"} for n in range(310))))
    analysis = judged(bills)

    seen = Seen(page(recommend(analysis), analysis))

    assert sum(own.saving for own in analysis.findings) == Decimal(3100)
    assert "and 10 more, in findings.csv" in seen.text
