"""What a test delivered to the business, recomputed from the rows that prove it: a claim alone counts for nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Context, Decimal, localcontext
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, Strict

from netra_fixtures.errors import NetraFixturesError
from netra_fixtures.identifiers import Column, Table, quoted_column, quoted_table

if TYPE_CHECKING:
    from sqlalchemy.engine import Row
    from sqlalchemy.ext.asyncio import AsyncEngine

_EXACT = Context(prec=1000)  # the default of 28 digits would round the sum of large amounts
_MOST_NAMED = 5
_SECOND = timedelta(seconds=1)

RowIds = Annotated[Sequence[int | str | UUID], AfterValidator(tuple), Field(min_length=1)]


class Outcome(BaseModel, ABC, frozen=True, extra="forbid"):
    """What a test delivered, and the rows that prove it.

    Args:
        table: `schema.table` or `table`; a view serves too.
        rows: the ids of the rows that count, one or more.
        id_column: the column that holds the ids.
    """

    name: ClassVar[str]
    table: Table
    rows: RowIds
    id_column: Column = "id"

    @property
    @abstractmethod
    def claimed(self) -> Decimal:
        """The amount that the rows have to add up to, in `unit`."""

    @property
    @abstractmethod
    def unit(self) -> str:
        """What is counted."""

    @abstractmethod
    def amount_sql(self) -> str:
        """Write the expression that gives a row's amount; null where it has none."""

    def unit_sql(self) -> str:
        """Write the expression that gives a row's unit."""
        return f"'{self.unit}'"


class SavingsFound(Outcome, frozen=True):
    """Money that a customer need not spend.

    Args:
        amount: in `currency`, above 0.
        currency: ISO 4217, three capitals.
        column: holds each row's amount, as a numeric or a whole number.
        currency_column: holds each row's currency.
    """

    name: ClassVar[str] = "savings found"
    amount: Annotated[Decimal, Strict(), Field(gt=0)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    column: Column
    currency_column: Column = "currency"

    @property
    def claimed(self) -> Decimal:
        """The amount, in the currency."""
        return self.amount

    @property
    def unit(self) -> str:
        """The currency."""
        return self.currency

    def amount_sql(self) -> str:
        """Give the column of amounts."""
        return quoted_column(self.column)

    def unit_sql(self) -> str:
        """Give the column of currencies."""
        return f"{quoted_column(self.currency_column)}::text"


class InsightsDelivered(Outcome, frozen=True):
    """Things a customer now knows; a row whose *column* is null or blank says nothing and doesn't count."""

    name: ClassVar[str] = "insights delivered"
    count: Annotated[int, Strict(), Field(gt=0)]
    column: Column

    @property
    def claimed(self) -> Decimal:
        """How many."""
        return Decimal(self.count)

    @property
    def unit(self) -> str:
        """Insights."""
        return "insights"

    def amount_sql(self) -> str:
        """Give 1 where the row says something."""
        return f"case when {quoted_column(self.column)}::text ~ '\\S' then 1 end"


class WorkAutomated(Outcome, frozen=True):
    """Time that nobody has to spend any more; *column* is an interval, whose months count 30 days each."""

    name: ClassVar[str] = "work automated"
    duration: Annotated[timedelta, Strict(), Field(gt=timedelta(0))]
    column: Column

    @property
    def claimed(self) -> Decimal:
        """The duration in seconds."""
        whole, rest = divmod(self.duration, _SECOND)
        return whole + Decimal(rest.microseconds) / 1_000_000

    @property
    def unit(self) -> str:
        """Seconds."""
        return "seconds"

    def amount_sql(self) -> str:
        """Give the interval in seconds."""
        return f"extract(epoch from {quoted_column(self.column)})"


@dataclass(frozen=True)
class Recount:
    """What the rows themselves say.

    Args:
        amount: what they add up to, each counted once.
        missing: ids of which no row is there.
        counted_twice: ids named twice, of several rows, or of rows that an outcome before counted.
        without_amount: ids of rows without an amount, or with one that isn't exact.
        in_other_units: units by the id of a row that isn't in the outcome's.
    """

    amount: Decimal
    missing: tuple[str, ...]
    counted_twice: tuple[str, ...]
    without_amount: tuple[str, ...]
    in_other_units: Mapping[str, str]

    @property
    def flaws(self) -> Iterator[str]:
        """Say what is wrong with the rows, whatever they add up to."""
        other = [f"{row} ({unit})" for row, unit in self.in_other_units.items()]
        for said, rows in (
            ("rows missing", self.missing),
            ("rows counted twice", self.counted_twice),
            ("rows without an exact amount", self.without_amount),
            ("rows in another unit", other),
        ):
            if rows:
                more = f" and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else ""
                yield f"{said}: {', '.join(rows[:_MOST_NAMED])}{more}"


class OutcomeNotProved(NetraFixturesError, AssertionError):
    """The rows don't add up to what was claimed."""

    def __init__(self, outcome: Outcome, recount: Recount) -> None:
        differs = [
            f"{outcome.claimed:,f} {outcome.unit} claimed,"
            f" {recount.amount:,f} {outcome.unit} recomputed from {outcome.table}",
            *recount.flaws,
        ]
        super().__init__(
            f"{outcome.name}: {'; '.join(differs)}; claim what committed rows say, or mend what wrote them"
        )
        self.outcome = outcome
        self.recount = recount


class RowsUnreadable(NetraFixturesError):
    """PostgreSQL can't read the rows that a test names."""

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(f"{table} can't be read: {reason}; name a table and columns that are there")
        self.table = table
        self.reason = reason


class Delivered:
    """Hold outcomes of one test against PostgreSQL, and establish those that the rows prove.

    Args:
        engine: on the test's database.
        establish: is handed each outcome's name, amount and unit, as the report has them.
    """

    def __init__(self, engine: AsyncEngine, establish: Callable[[dict[str, str]], None]) -> None:
        self._engine = engine
        self._establish = establish
        self._counted: set[tuple[str, str, str]] = set()

    async def __call__(self, outcome: Outcome) -> None:
        """Recompute *outcome*; the report has it if the test passes.

        Raises:
            OutcomeNotProved: the rows say otherwise, or prove an outcome of this test already.
            RowsUnreadable: there are no such tables or columns, or they are of another type.
        """
        __tracebackhide__ = True
        found = await self._found(outcome)
        recount = self._recounted(outcome, found)
        if recount.amount != outcome.claimed or any(recount.flaws):
            raise OutcomeNotProved(outcome, recount)
        self._counted |= {_key(outcome, row) for row in found}
        self._establish({"name": outcome.name, "amount": f"{recount.amount:f}", "unit": outcome.unit})

    async def _found(self, outcome: Outcome) -> Sequence[Row[Any]]:
        __tracebackhide__ = True
        row = f"{quoted_column(outcome.id_column)}::text"
        return await rows(
            self._engine,
            outcome.table,
            f"select {row} as id, {outcome.amount_sql()} as amount, {outcome.unit_sql()} as unit,"
            " to_regclass(:relation)::oid::text as relation"  # one table, with its schema or without
            f" from {quoted_table(outcome.table)} where {row} = any(:ids)",
            relation=quoted_table(outcome.table),
            ids=[str(one) for one in outcome.rows],
        )

    def _recounted(self, outcome: Outcome, found: Sequence[Row[Any]]) -> Recount:
        named = Counter(str(row) for row in outcome.rows)
        there = Counter(row.id for row in found)
        once = {row.id: row for row in found}
        exact = {row.id: Decimal(row.amount) for row in once.values() if _is_exact(row.amount)}
        with localcontext(_EXACT):
            amount = sum((exact[row] for row in exact if once[row].unit == outcome.unit), Decimal(0))
        return Recount(
            amount=amount,
            missing=tuple(row for row in named if row not in there),
            counted_twice=tuple(
                row
                for row in named
                if max(named[row], there[row]) > 1
                or (row in once and _key(outcome, once[row]) in self._counted)
            ),
            without_amount=tuple(row for row in once if row not in exact),
            in_other_units={row.id: str(row.unit) for row in once.values() if row.unit != outcome.unit},
        )


def _key(outcome: Outcome, row: Row[Any]) -> tuple[str, str, str]:
    return outcome.name, row.relation, row.id


async def rows(engine: AsyncEngine, table: str, sql: str, **parameters: object) -> Sequence[Row[Any]]:
    """Read rows of *table* over a connection of its own, which sees what is committed.

    Raises:
        RowsUnreadable: PostgreSQL refuses the statement, or a parameter is of another type.
    """
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    __tracebackhide__ = True
    try:
        async with engine.connect() as connection:
            return (await connection.execute(text(sql), parameters)).all()
    except DBAPIError as error:
        reason = str(error.orig).rpartition(">: ")[2].partition("\n")[0]
        raise RowsUnreadable(table, reason) from None


def _is_exact(amount: object) -> bool:
    return type(amount) is int or (isinstance(amount, Decimal) and amount.is_finite())
