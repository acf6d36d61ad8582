"""The analysis keeps to SQL that Spark reads as DuckDB does."""

from importlib.resources import files

import pytest
import sqlglot
from sqlglot import exp

FOLDER = files("netra_workflows").joinpath("sql", "analysis")
NAMES = sorted(file.name for file in FOLDER.iterdir() if file.name.endswith(".sql"))
BOTH_HAVE = {
    "abs", "arrayagg", "array_agg", "and", "case", "cast", "coalesce", "concat", "count", "extract", "greatest", "if",
    "least", "lower", "max", "median", "min", "or", "sum",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_both_engines_read_the_same_query(name: str) -> None:
    """Where bills outgrow one machine, the same text runs on an engine made for that."""
    text = FOLDER.joinpath(name).read_text()

    duckdb, spark = (sqlglot.parse_one(text, read=dialect) for dialect in ("duckdb", "spark"))

    functions = {own.sql_name().lower() for own in duckdb.find_all(exp.Func)}
    assert functions <= BOTH_HAVE
    assert not list(duckdb.find_all(exp.Anonymous))
    assert duckdb.sql("spark", unsupported_level=sqlglot.ErrorLevel.RAISE) == spark.sql("spark")
