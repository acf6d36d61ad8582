"""What can go wrong between a bill and a decision.

WorkflowsError
├── BillRefused            nothing of the file was kept
│   ├── BillUnreadable     truncated, corrupt, no text, a cell too large
│   ├── UnknownColumns     no format that this version reads
│   ├── MixedCurrencies    one invoice in two currencies
│   └── BillKnown          the same file a second time
└── PlanUnproved           the solver gave no plan with a proof
"""

from collections.abc import Iterable


class WorkflowsError(Exception):
    """Base of every error that netra_workflows raises on purpose."""


class BillRefused(WorkflowsError):
    """A file was refused whole; nothing of it was kept."""

    def __init__(self, bill: str, reason: str, remedy: str) -> None:
        super().__init__(f"{bill}: {reason}; {remedy}")
        self.bill = bill
        self.reason = reason


class BillUnreadable(BillRefused):
    """The file can't be read to its end, or isn't what its name says."""

    def __init__(self, bill: str, reason: str) -> None:
        super().__init__(bill, reason, "export it again and upload the whole file")


class UnknownColumns(BillRefused):
    """The header is none of a format that is read; `lacks` names, by format, what is missing."""

    def __init__(self, bill: str, lacks: Iterable[str]) -> None:
        super().__init__(
            bill,
            f"its columns are those of no known bill ({', '.join(lacks)})",
            "export FOCUS 1.0 to 1.3, an AWS CUR, an Azure cost export or Google Cloud's BigQuery export",
        )


class MixedCurrencies(BillRefused):
    """One billing account was billed in two currencies for one period, which no invoice is."""

    def __init__(self, bill: str, currencies: Iterable[str]) -> None:
        self.currencies = tuple(sorted(currencies))
        super().__init__(
            bill,
            f"one account's period holds {' and '.join(self.currencies)}",
            "export one file for each invoice",
        )


class BillKnown(BillRefused):
    """The same bytes were read before; reading them again would count their money twice."""

    def __init__(self, bill: str, before: str) -> None:
        super().__init__(bill, f"the same file was read as {before}", "upload another one")


class PlanUnproved(WorkflowsError):
    """The solver ended without a plan that its own bound proves."""

    def __init__(self, state: str) -> None:
        super().__init__(f"no commitment plan could be proved ({state}); plan fewer kinds or hours at once")
