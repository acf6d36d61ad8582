"""A bill is read to the cent: every row is kept, or refused with its line and the reason."""

import gzip
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from netra_workflows import (
    BillKnown,
    BillRefused,
    Bills,
    BillUnreadable,
    Format,
    Ingested,
    MixedCurrencies,
    UnknownColumns,
)
from netra_workflows.generator import Bill

from .conftest import ROW, WriteBill, written
from .recount import by_provider, charges

SECRET = "s3cr3t-cell"


def billed(bills: Bills) -> dict[tuple[str, str], Decimal]:
    """Give what was billed by provider and currency, as the package reports it."""
    return {(total.provider, total.currency): total.billed for total in bills.totals()}


def test_a_generated_bill_adds_up_to_the_last_digit(bills: Bills, tmp_path: Path) -> None:
    """What a provider billed is the sum of its rows, whoever adds them up."""
    path = tmp_path / "bill.csv"
    Bill(11, rows=2000).write(path)

    read = bills.ingest(path)

    assert billed(bills) == by_provider(charges(path))
    assert read.refused == 0
    assert (read.format, read.version) == (Format.FOCUS, "1.1")


def test_csv_gzip_and_parquet_of_one_bill_say_the_same(tmp_path: Path) -> None:
    """How a file is packed changes no amount."""
    plain, packed, columnar = (tmp_path / name for name in ("a.csv", "b.csv.gz", "c.parquet"))
    Bill(12, rows=500).write(plain)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    duckdb.sql(f"copy (from read_csv('{plain}', all_varchar = true)) to '{columnar}'")

    answers = []
    for path in (plain, packed, columnar):
        with Bills.opened(threads=1) as bills:
            bills.ingest(path)
            answers.append(bills.connection.execute("from charge order by record").fetchall())

    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) > 300


def test_a_parquet_of_typed_columns_is_read_as_they_are(bills: Bills, tmp_path: Path) -> None:
    """Decimals, times and maps of tags lose nothing on the way."""
    path = tmp_path / "typed.parquet"
    duckdb.sql(
        "copy (select 12.345678901234567::decimal(30, 15) as BilledCost, 'Usage' as ChargeCategory,"
        " 'AWS' as ProviderName, timestamp '2026-03-01 10:00:00' as ChargePeriodStart,"
        " timestamptz '2026-03-01 12:00:00+01' as ChargePeriodEnd,"
        f" 'USD' as BillingCurrency, map {{'team': 'web'}} as Tags) to '{path}'"
    )

    bills.ingest(path)

    found = bills.connection.execute("select billed, epoch(ended - started), tagged from charge").fetchone()
    assert found == (Decimal("12.345678901234567"), 3600, True)


BROKEN = [
    ({"BilledCost": ""}, "BilledCost is missing"),
    ({"BilledCost": "NULL"}, "BilledCost is missing"),
    ({"BilledCost": SECRET}, "BilledCost is no number"),
    ({"BilledCost": "nan"}, "BilledCost is no number"),
    ({"BilledCost": "inf"}, "BilledCost is no number"),
    ({"BilledCost": "1_000"}, "BilledCost is no number"),
    ({"BilledCost": "1.234,50"}, "BilledCost is no number"),
    ({"BilledCost": "9" * 30}, "BilledCost is no number"),
    ({"EffectiveCost": SECRET}, "EffectiveCost is no number"),
    ({"ListCost": SECRET}, "ListCost is no number"),
    ({"ContractedCost": SECRET}, "ContractedCost is no number"),
    ({"PricingQuantity": SECRET}, "PricingQuantity is no number"),
    ({"ChargeCategory": ""}, "ChargeCategory is missing or unknown"),
    ({"ChargeCategory": "usage"}, "ChargeCategory is none of the specification's"),
    ({"ChargeClass": SECRET}, "ChargeClass is none of the specification's"),
    ({"ChargePeriodStart": "2026-02-30T00:00:00Z"}, "ChargePeriodStart is no date"),
    ({"ChargePeriodStart": "infinity"}, "ChargePeriodStart is no date"),
    ({"ChargePeriodEnd": "2026-03-02T30:00:00Z"}, "ChargePeriodEnd is no date"),
    ({"ChargePeriodEnd": "2026-03-01T23:59:59Z"}, "ChargePeriodEnd is before its start"),
    ({"BillingPeriodStart": SECRET}, "BillingPeriodStart is no date"),
    ({"BillingCurrency": ""}, "BillingCurrency is missing"),
    ({"BillingCurrency": "usd"}, "BillingCurrency is no ISO 4217 code"),
    ({"CommitmentDiscountStatus": SECRET}, "CommitmentDiscountStatus is none of the specification's"),
]


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    """One bill in which every second row breaks the specification in another way."""
    rows = [row for change, _ in BROKEN for row in ({}, change)]
    with Bills.opened(threads=1) as bills:
        read = bills.ingest(written(tmp_path_factory.mktemp("bills") / "broken.csv", *rows, {}))
        assert list(bills.refusals(read.source)) == list(read.refusals)
    return read


@pytest.mark.parametrize("place", range(len(BROKEN)), ids=[f"{n} {why}" for n, (_, why) in enumerate(BROKEN)])
def test_a_row_that_breaks_the_specification_is_refused_by_line(refused: Ingested, place: int) -> None:
    """Whoever exported the bill is told which line to look at, and why; the cell itself is told to nobody."""
    found = [r for r in refused.refusals if r.record == 2 * place + 2]

    assert [(r.line, r.reason) for r in found] == [(2 * place + 3, BROKEN[place][1])]
    assert SECRET not in refused.model_dump_json()


def test_the_rows_beside_refused_ones_count(refused: Ingested) -> None:
    """A bill with a few bad rows is still a bill, and its total is that of the good ones."""
    assert (refused.rows, refused.refused) == (len(BROKEN) + 1, len(BROKEN))
    assert [total.billed for total in refused.totals] == [Decimal(10) * (len(BROKEN) + 1)]


def test_amounts_are_read_in_the_ways_that_exports_write_them(bills: Bills, write_bill: WriteBill) -> None:
    """Exponents, signs and the dollar's own marks are no reason to lose money."""
    ways = {"10": "10", "-3.5": "-3.5", "4.0E-7": "0.0000004", "$1,234.50 ": "1234.50", " 7 ": "7", "0": "0"}

    bills.ingest(write_bill(*({"BilledCost": cell} for cell in ways)))

    found = bills.connection.execute("select billed from charge order by record").fetchall()
    assert [billed for (billed,) in found] == [Decimal(worth) for worth in ways.values()]


def test_times_are_read_in_the_ways_that_exports_write_them(bills: Bills, write_bill: WriteBill) -> None:
    """An hour of one export is the same hour in another, in UTC."""
    ways = {
        "2026-03-02T10:00:00Z": 10, "2026-03-02 10:00:00": 10, "2026-03-02T10:00Z": 10, "2026-03-02": 0,
        "2026-03-02T10:00:00.000Z": 10, "2026-03-02 12:00:00+02:00": 10, "3/2/2026": 0, "03/02/26": 0,
    }  # fmt: skip

    bills.ingest(
        write_bill(*({"ChargePeriodStart": c, "ChargePeriodEnd": "2026-03-03T00:00:00Z"} for c in ways))
    )

    found = bills.connection.execute("select started from charge order by record").fetchall()
    assert [started for (started,) in found] == [datetime(2026, 3, 2, hour) for hour in ways.values()]


def test_what_was_odd_and_yet_read_is_noted(bills: Bills, write_bill: WriteBill) -> None:
    """A reader of the report sees where the export left the specification."""
    path = write_bill(
        {"BilledCost": "$5.00"},
        {"ChargePeriodStart": "3/1/2026"},
        {"Tags": '"team": "web"'},
        {"BilledCost": "0.5"},
    )

    read = bills.ingest(path)

    assert read.refused == 0
    assert read.notes == (
        "1 rows have dates with slashes, read as month/day/year",
        "1 rows have amounts with a dollar sign",
        "1 rows have Tags that are no JSON, read as none",
    )


def test_lines_are_those_of_the_file(bills: Bills, tmp_path: Path) -> None:
    """Byte order mark, CR LF, blank lines and line breaks in cells move no refusal to another line."""
    head = ",".join(ROW)
    good = ",".join(value if "," not in value and '"' not in value else "" for value in ROW.values())
    bad = good.replace("10,", "ten,", 1)
    broken = good.replace("something", '"two\r\nlines"')
    path = tmp_path / "lines.csv"
    text = "\r\n".join([head, good, "", broken, bad, good + ",surplus", bad, "only,two", good, bad, ""])
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())

    read = bills.ingest(path)

    assert [(refusal.line, refusal.reason) for refusal in read.refusals] == [
        (6, "BilledCost is no number"),
        (7, "the row has more cells than the header"),
        (8, "BilledCost is no number"),
        (9, "the row has fewer cells than the header"),
        (11, "BilledCost is no number"),
    ]
    assert bills.connection.execute("select record from charge order by record").fetchall() == [
        (1,),
        (2,),
        (7,),
    ]


def test_a_file_whose_rows_are_all_short_is_read(bills: Bills, tmp_path: Path) -> None:
    """A publisher leaves out the last, empty cell of every row; the money is in the others."""
    path = tmp_path / "short.csv"
    path.write_text(
        "BilledCost,ChargeCategory,ChargePeriodStart,ChargePeriodEnd,Tags\n"
        + "3,Usage,2026-03-01,2026-03-02\n" * 3
    )

    read = bills.ingest(path)

    assert (read.rows, read.refused) == (3, 0)
    assert billed(bills) == {("unknown", "XXX"): Decimal(9)}


def test_a_bill_of_another_column_order_case_and_quoting_is_the_same_bill(
    bills: Bills, tmp_path: Path
) -> None:
    """Columns are found by name, whatever stands around them."""
    path = tmp_path / "other.csv"
    columns = [column.upper() if place % 2 else column.lower() for place, column in enumerate(reversed(ROW))]
    quoted = ",".join('"' + value.replace('"', '""') + '"' for value in reversed(ROW.values()))
    path.write_text(",".join(["x_own", *columns]) + "\n" + '"ours",' + quoted + "\n")

    read = bills.ingest(path)

    assert billed(bills) == {("AWS", "USD"): Decimal(10)}
    assert read.ignored == ("x_own",)


@pytest.mark.parametrize(
    ("exact", "rounds"),
    [(None, True), (7, False), (64, False)],
    ids=["every row", "but for one", "but for another"],
)
def test_a_provider_that_rounds_is_found_out(
    bills: Bills, write_bill: WriteBill, exact: int | None, rounds: bool
) -> None:
    """Where every EffectiveCost is whole and the bill has cents, BilledCost stands for it; else it is believed."""
    rows = [{"BilledCost": "1.4", "EffectiveCost": "1.5" if n == exact else "1"} for n in range(1, 201)]

    read = bills.ingest(write_bill(*rows))

    [[effective]] = bills.connection.execute("select sum(effective) from charge").fetchall()
    assert effective == (Decimal(280) if rounds else Decimal("200.5"))
    assert ("AWS rounds EffectiveCost: BilledCost stands for it" in read.notes) is rounds


def truncated(path: Path) -> None:
    packed = gzip.compress(path.read_bytes())
    path.with_suffix(".gz").write_bytes(packed[: len(packed) // 2])


def corrupt(path: Path) -> None:
    packed = bytearray(gzip.compress(path.read_bytes()))
    packed[-6] ^= 0xFF
    path.with_suffix(".gz").write_bytes(packed)


def huge(path: Path) -> None:
    path.with_suffix(".gz").write_bytes(path.read_bytes().replace(b"something", b"x" * 10_000_000, 1))


def binary(path: Path) -> None:
    path.with_suffix(".gz").write_bytes(path.read_bytes().replace(b"something", b"some\0thing", 1))


def cut_parquet(path: Path) -> None:
    other = path.with_suffix(".parquet")
    duckdb.sql(f"copy (from read_csv('{path}', all_varchar = true)) to '{other}'")
    path.with_suffix(".gz").write_bytes(other.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.with_suffix(".gz").write_bytes(b"")


@pytest.mark.parametrize("spoil", [truncated, corrupt, huge, binary, cut_parquet, empty])
def test_a_broken_file_is_refused_whole_and_by_name(
    bills: Bills, write_bill: WriteBill, spoil: object
) -> None:
    """Nothing of a file that can't be read to its end is stored, and it can be uploaded again."""
    path = write_bill(*[{}] * 50)
    spoil(path)  # type: ignore[operator]

    with pytest.raises(BillUnreadable) as caught:
        bills.ingest(path.with_suffix(".gz"))

    assert caught.value.bill == "bill.gz"
    assert "export it again" in str(caught.value)
    assert "xxx" not in str(caught.value)
    assert bills.totals() == ()
    assert bills.ingest(path).rows == 50


def test_a_long_cell_within_a_quoted_cell_of_many_lines_is_refused_too(
    bills: Bills, write_bill: WriteBill
) -> None:
    """Ten megabytes of short lines in one cell are as much as ten megabytes in one line."""
    path = write_bill({"ChargeDescription": "short line\n" * 1_000_000}, {})

    with pytest.raises(BillRefused):
        assert bills.ingest(path).refused == 0

    assert bills.totals() == ()


def test_text_that_is_no_utf8_refuses_its_row(bills: Bills, write_bill: WriteBill) -> None:
    """One letter in another encoding costs one row, not the bill."""
    path = write_bill({}, {"ChargeDescription": "Gebuehr"}, {})
    path.write_bytes(path.read_bytes().replace(b"Gebuehr", b"Geb\xfchr"))

    read = bills.ingest(path)

    assert [(refusal.line, refusal.reason) for refusal in read.refusals] == [(3, "the row is no UTF-8")]


@pytest.mark.parametrize(
    "header", ["a,b,c", "BilledCost,ChargeCategory,ChargePeriodStart", "cost,usage_start_time"]
)
def test_a_file_of_unknown_columns_is_reported_not_parsed(bills: Bills, tmp_path: Path, header: str) -> None:
    """A list of customers that somebody uploads by mistake becomes no bill."""
    path = tmp_path / "other.csv"
    path.write_text(header + "\n1,2,3\n")

    with pytest.raises(UnknownColumns, match=r"other\.csv: its columns are those of no known bill"):
        bills.ingest(path)


def test_a_column_that_counts_and_occurs_twice_is_refused(bills: Bills, tmp_path: Path) -> None:
    """Nobody can say which of two amounts is the one that was billed."""
    path = tmp_path / "twice.csv"
    path.write_text("BilledCost,billed_cost,ChargeCategory,ChargePeriodStart,ChargePeriodEnd\n")

    with pytest.raises(UnknownColumns, match="billedcost occurs twice"):
        bills.ingest(path)


def test_one_invoice_in_two_currencies_is_refused(bills: Bills, write_bill: WriteBill) -> None:
    """Dollars and euros of one invoice can't both be right; nothing of the file is kept."""
    path = write_bill({}, {"BillingCurrency": "EUR"})

    with pytest.raises(MixedCurrencies) as caught:
        bills.ingest(path)

    assert caught.value.currencies == ("EUR", "USD")
    assert bills.totals() == ()
    with pytest.raises(MixedCurrencies):  # and not BillKnown: nothing of it was kept
        bills.ingest(path)


def test_two_accounts_in_two_currencies_are_kept_apart(bills: Bills, write_bill: WriteBill) -> None:
    """A company with two payers has two invoices in one file, and no sum of both."""
    bills.ingest(write_bill({}, {"BillingCurrency": "EUR", "BillingAccountId": "other"}))

    assert billed(bills) == {("AWS", "USD"): Decimal(10), ("AWS", "EUR"): Decimal(10)}


def test_the_same_file_is_not_read_twice(bills: Bills, write_bill: WriteBill) -> None:
    """Who uploads a bill a second time, under another name, doubles no cost."""
    path = write_bill({})
    bills.ingest(path)

    with pytest.raises(BillKnown, match=r"the same file was read as bill\.csv"):
        bills.ingest(path.rename(path.with_name("again.csv")))

    assert billed(bills) == {("AWS", "USD"): Decimal(10)}


@pytest.mark.parametrize(
    "name", ["a*.csv", "b[1].csv", "it's.csv", "c?.csv", 'naïve "file".csv', "no-extension"]
)
def test_a_file_is_that_file_whatever_its_name(bills: Bills, write_bill: WriteBill, name: str) -> None:
    """A name is a name: no pattern that finds other files, no end of a statement."""
    write_bill({"BilledCost": "99"}, name="b1.csv")
    path = write_bill({}, name=name)

    bills.ingest(path)

    assert billed(bills) == {("AWS", "USD"): Decimal(10)}


def test_a_file_that_is_not_there_is_refused_by_name(bills: Bills, tmp_path: Path) -> None:
    """A lost upload is said to be lost."""
    with pytest.raises(BillUnreadable, match=r"gone\.csv: it can't be opened"):
        bills.ingest(tmp_path / "gone.csv")
