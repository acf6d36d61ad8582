"""What a test says it delivered is recomputed from PostgreSQL, and the report has what the rows prove."""

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from netra_fixtures import InsightsDelivered, SavingsFound, WorkAutomated

from .runs import Outcome, Run

SAVINGS = """
from sqlalchemy import text


async def migrate(engine):
    async with engine.begin() as connection:
        await connection.execute(text("create schema savings"))
        await connection.execute(text(
            "create table savings.finding"
            " (id bigint, saves numeric, currency text, why text, took interval, rate float)"
        ))
        await connection.execute(text("create view found as select * from savings.finding"))
"""
ARRANGE = """
import pytest
from datetime import timedelta
from decimal import Decimal
from sqlalchemy import text

from netra_fixtures import Delivered, InsightsDelivered, SavingsFound, WorkAutomated

ROWS = '''
    (1, 70.10, 'USD', 'idle machine', '45 minutes', 1.5),
    (2, 2.40, 'USD', 'unattached disk', '1 hour', 1.5),
    (3, 9.99, 'EUR', ' ', '1 day', 1.5),
    (4, null, 'USD', null, null, null),
    (5, 1, 'USD', 'billed by two', '1 minute', 1.5),
    (5, 1, 'USD', 'billed by two', '1 minute', 1.5),
    (6, 'NaN', 'USD', 'no number', '1 minute', 'NaN'),
    (7, 12345678901234567890123456789.01, 'JPY', 'large', '1 minute', 1),
    (8, 0.001, 'JPY', 'small', '1 minute', 1)
'''

@pytest.fixture(autouse=True)
async def findings(engine):
    async with engine.begin() as connection:
        await connection.execute(text(f"insert into savings.finding values {ROWS}"))

def saved(amount, *rows, currency="USD", **more):
    given = {"table": "savings.finding", "column": "saves"} | more
    return SavingsFound(amount=Decimal(amount), currency=currency, rows=rows, **given)
"""

Prove = Callable[..., Outcome]


@pytest.fixture
def prove(run: Run, pytester: pytest.Pytester) -> Prove:
    """Run a test of the lines given, against rows of findings."""
    (pytester.path / "savings.py").write_text(SAVINGS)

    def prove(*lines: str, rest: str = "") -> Outcome:
        body = "\n    ".join(lines)
        source = f"{ARRANGE}\nasync def test_it(delivered: Delivered, engine):\n    {body}\n{rest}"
        return run(source, "-o", "netra_migrations=savings:migrate")

    return prove


def outcomes(outcome: Outcome) -> list[tuple[str, str, str]]:
    """Read what the report says was delivered."""
    return [(one["name"], one["amount"], one["unit"]) for one in outcome.report["value"]["outcomes"]]


def test_outcomes_that_the_rows_prove_are_reported_with_their_test(prove: Prove) -> None:
    """A buyer reads savings, insights and saved work that somebody recomputed."""
    outcome = prove(
        "await delivered(saved('72.5', 1, 2))",
        "await delivered(InsightsDelivered(count=2, table='savings.finding', rows=[1, 2], column='why'))",
        "await delivered(WorkAutomated(",
        "    duration=timedelta(minutes=105), table='savings.finding', rows=(1, 2), column='took'))",
    )

    outcome.result.assert_outcomes(passed=1)
    assert outcomes(outcome) == [
        ("savings found", "72.50", "USD"),
        ("insights delivered", "2", "insights"),
        ("work automated", "6300.000000", "seconds"),
    ]
    assert outcome.report["value"]["outcomes"][0]["nodeid"].endswith("::test_it[asyncio]")


def test_what_is_recomputed_is_evidence(prove: Prove) -> None:
    """The proof passes the wire like everything else, so the servers' own counters vouch for it."""
    again = "    await delivered(saved('70.1', 1))\n    await delivered(saved('2.4', 2))\n"

    outcome = prove("await delivered(saved('72.5', 1, 2))", rest=f"async def test_again(delivered):\n{again}")

    once, twice = (outcome.test(name)["evidence"]["postgres"] for name in ("test_it", "test_again"))
    assert once["statements"] < twice["statements"]


CLAIMS = {
    "saved('80', 1, 2)": "80 USD claimed, 72.50 USD recomputed from savings.finding; claim what committed rows",
    "saved('72.5', 1, 2, 99, 98)": "72.50 USD recomputed from savings.finding; rows missing: 99, 98; claim",
    "saved('142.60', 1, 2, 1)": "142.60 USD claimed, 72.50 USD recomputed from savings.finding;"
    " rows counted twice: 1; claim",
    "saved('72.5', 1, 2, 1)": "rows counted twice: 1; claim",
    "saved('1', 5)": "1 USD recomputed from savings.finding; rows counted twice: 5;",
    "saved('82.49', 1, 2, 3)": "72.50 USD recomputed from savings.finding; rows in another unit: 3 (EUR);",
    "saved('72.50', 1, 2, 3)": "rows in another unit: 3 (EUR);",
    "saved('70.1', 1, 4)": "rows without an exact amount: 4;",
    "saved('70.1', 1, 6)": "rows without an exact amount: 6;",
    "saved('1.5', 1, column='rate')": "rows without an exact amount: 1;",
    "saved('1', *range(11, 18))": "rows missing: 11, 12, 13, 14, 15 and 2 more;",
    "saved('12345678901234567890123456789.01', 7, 8, currency='JPY')": (
        "12,345,678,901,234,567,890,123,456,789.011 JPY recomputed"
    ),
    "InsightsDelivered(count=4, table='savings.finding', rows=[1, 2, 3, 4], column='why')": (
        "insights delivered: 4 insights claimed, 2 insights recomputed from savings.finding;"
        " rows without an exact amount: 3, 4;"
    ),
    "WorkAutomated(duration=timedelta(hours=1), table='savings.finding', rows=[1], column='took')": (
        "work automated: 3,600 seconds claimed, 2,700.000000 seconds recomputed from savings.finding; claim"
    ),
    "saved('1', 1, table='savings.lost')": (
        'savings.lost can\'t be read: relation "savings.lost" does not exist; name a table'
    ),
    "saved('1', 1, column='lost')": 'savings.finding can\'t be read: column "lost" does not exist; name a table',
    "WorkAutomated(duration=timedelta(1), table='savings.finding', rows=[1], column='why')": (
        "savings.finding can't be read: function pg_catalog.extract(unknown, text) does not exist; name"
    ),
}


def test_a_claim_that_the_rows_do_not_prove_fails_with_what_differs(prove: Prove) -> None:
    """Nobody has to search for the missing dollar: one sentence names both amounts and the rows."""
    tests = "".join(
        f"async def test_claim_{n}(delivered):\n    await delivered({claim})\n"
        for n, claim in enumerate(CLAIMS)
    )

    outcome = prove("await delivered(saved('2.40', 2))", rest=tests)

    outcome.result.assert_outcomes(passed=1, failed=len(CLAIMS))
    assert outcomes(outcome) == [("savings found", "2.40", "USD")]
    for n, said in enumerate(CLAIMS.values()):
        (failure,) = outcome.test(f"test_claim_{n}[")["failures"]
        assert said in failure["message"]
        assert not re.search(r"outcomes\.py|site-packages", failure["text"])


def test_a_row_proves_one_saving_of_a_test_and_no_second(prove: Prove) -> None:
    """Two reports of one finding are one saving, however they are put."""
    other_name = """
    await delivered(saved('70.10', 1, table="found"))
    await delivered(saved('2.40', 2))
    await delivered(saved('72.50', 1, 2, table="public.found"))
"""
    outcome = prove(
        "await delivered(saved('70.10', 1))",
        "await delivered(saved('72.50', 1, 2))",
        rest=f"async def test_by_another_name(delivered: Delivered):\n{other_name}",
    )

    outcome.result.assert_outcomes(failed=2)
    for name in ("test_it", "test_by_another_name"):
        assert "rows counted twice: 1;" in outcome.test(name)["failures"][0]["message"]


def test_rows_that_are_not_committed_prove_nothing(prove: Prove) -> None:
    """A saving that a rollback would take away was never found."""
    outcome = prove(
        "async with engine.begin() as connection:",
        "    await connection.execute(text(\"insert into savings.finding values (20, 3, 'USD')\"))",
        "    await delivered(saved('3', 20))",
    )

    assert "rows missing: 20;" in outcome.test("test_it")["failures"][0]["message"]


AFTERWARDS = """
    raise OSError

@pytest.fixture
def falls():
    yield
    raise OSError

async def test_falls_at_its_end(delivered, falls):
    await delivered(saved('70.10', 1))

async def test_stands(delivered):
    await delivered(saved('2.40', 2))
"""


def test_a_test_that_fails_afterwards_has_delivered_nothing(prove: Prove) -> None:
    """The same test may have shown that what the rows say is wrong."""
    outcome = prove("await delivered(saved('70.10', 1))", rest=AFTERWARDS)

    outcome.result.assert_outcomes(passed=2, failed=1, errors=1)
    assert outcomes(outcome) == [("savings found", "2.40", "USD")]


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": 12.5},
        {"amount": Decimal(0)},
        {"amount": Decimal("-3")},
        {"amount": Decimal("NaN")},
        {"currency": "usd"},
        {"currency": "USD\n"},
        {"rows": []},
        {"rows": "12"},
        {"rows": [1.5]},
        {"table": "savings.finding; drop table savings.finding"},
        {"table": 'savings."finding"'},
        {"table": "a.b.c"},
        {"table": "finding\n"},
        {"column": "saves) from savings.finding --"},
        {"id_column": "id = 1 or id"},
        {"currency_column": "currency'"},
        {"column": "x" * 64},
        {"unit": "USD"},
    ],
    ids=str,
)
def test_a_claim_that_can_not_be_meant_is_refused_at_once(changed: dict[str, Any]) -> None:
    """Money is exact, names are names and not statements, and nothing is proved by no rows."""
    given = {
        "amount": Decimal(1),
        "currency": "USD",
        "table": "savings.finding",
        "rows": [1],
        "column": "saves",
    }
    SavingsFound(**given)

    with pytest.raises(ValidationError):
        SavingsFound(**(given | changed))


def test_durations_and_counts_are_claimed_exactly() -> None:
    """A microsecond is not lost on the way to what the rows are held against."""
    where: dict[str, Any] = {"table": "t", "rows": ["a"], "column": "c"}

    work = WorkAutomated(duration=timedelta(days=40, microseconds=1), **where)

    assert work.claimed == Decimal("3456000.000001")
    assert InsightsDelivered(count=3, **where).claimed == 3
    with pytest.raises(ValidationError):
        WorkAutomated(duration=timedelta(0), **where)
    with pytest.raises(ValidationError):
        InsightsDelivered(count=True, **where)
