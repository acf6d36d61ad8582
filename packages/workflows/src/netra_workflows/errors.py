"""What can go wrong between a bill and a decision.

WorkflowsError
├── BillRefused            nothing of the file was kept
│   ├── BillUnreadable     truncated, corrupt, no text, a cell too large
│   ├── UnknownColumns     no format that this version reads
│   ├── MixedCurrencies    one invoice in two currencies
│   └── BillKnown          the same file a second time
├── PlanUnproved           the solver gave no plan with a proof
├── InvalidText            a name or a text that no store could keep unchanged
├── BillNameTaken          another bill of the tenant has that name
├── BillTooLarge
├── NotFound               the tenant has no such thing
│   ├── BillNotFound
│   └── PlanNotFound
├── ActRefused             the plan stays as it is
│   ├── NotNow             its state doesn't allow the act
│   ├── SameEyes           the actor had another part in this plan
│   ├── NoSuchStep
│   └── PlanChanged        somebody else was first
└── StoreUnavailable
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


class InvalidText(WorkflowsError, ValueError):
    """A name or a text that no store could keep unchanged; it is not repeated here."""

    def __init__(self, what: str, longest: int) -> None:
        super().__init__(f"{what} has 1 to {longest} characters that can be printed; write it anew")


class BillNameTaken(WorkflowsError):
    """The tenant has another bill of that name."""

    def __init__(self) -> None:
        super().__init__("another bill has that name; give this one a name of its own")


class BillTooLarge(WorkflowsError):
    """The file is larger than the policy allows."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"a bill has at most {limit_bytes} bytes; export a shorter time")


class NotFound(WorkflowsError):
    """The tenant has no such thing, or it is another's: nobody is told which."""


class BillNotFound(NotFound):
    """The tenant has no bill of that name."""

    def __init__(self) -> None:
        super().__init__("there is no bill of that name; upload it first")


class PlanNotFound(NotFound):
    """The tenant has no such plan."""

    def __init__(self) -> None:
        super().__init__("there is no such plan; look at the list of plans")


class ActRefused(WorkflowsError):
    """An act was refused; the plan is as it was."""


class NotNow(ActRefused):
    """The plan's state doesn't allow the act."""

    def __init__(self, act: str, state: str) -> None:
        super().__init__(f"a plan that is {state} can't be {act}; look at it again")
        self.act, self.state = act, state


class SameEyes(ActRefused):
    """Who submitted a plan, endorsed it and approves it are three people."""

    def __init__(self) -> None:
        super().__init__("you had another part in this plan; ask somebody else")


class NoSuchStep(ActRefused):
    """The plan has no such step, or it is left out or done."""

    def __init__(self) -> None:
        super().__init__("the plan has no such step that is still to be done; look at it again")


class PlanChanged(ActRefused):
    """Somebody changed the plan since it was looked at."""

    def __init__(self, based_on: int, revision: int) -> None:
        super().__init__(
            f"the plan is at revision {revision}, not {based_on}; look at it again, then repeat the act"
        )
        self.based_on, self.revision = based_on, revision


class StoreUnavailable(WorkflowsError):
    """A store did not answer in time."""

    def __init__(self, store: str) -> None:
        super().__init__(f"{store} did not answer in time; try again")
        self.store = store
