"""What a bill becomes: totals, refusals, findings; frozen, with exact decimals."""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

NO_CURRENCY = "XXX"  # ISO 4217's code where no currency is involved: the file names none


class Frozen(BaseModel):
    """A value that crosses the package's border."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Format(StrEnum):
    """What a file's columns are."""

    FOCUS = "focus"
    AWS = "aws"
    AZURE = "azure"
    GCP = "gcp"
    CONTRACTS = "contracts"


class Kind(StrEnum):
    """What an upload is, by its content."""

    BILL = "bill"
    INVENTORY = "inventory"
    REQUESTS = "requests"
    PRICES = "prices"


class Certainty(StrEnum):
    """How sure it is that a saving can be had by the act that its rule names."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Effort(StrEnum):
    """What acting on a rule takes: minutes, days, or a project."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class Refusal(Frozen):
    """A row that was refused. `line` is where it begins in the file; `record` counts rows after the header."""

    line: int
    record: int
    reason: str


class Total(Frozen):
    """What one provider billed in one currency, to the last digit that the file has, up to 18."""

    provider: str
    currency: str
    rows: int
    billed: Decimal
    usage: Decimal
    purchases: Decimal
    tax: Decimal
    credits: Decimal
    adjustments: Decimal


class Ingested(Frozen):
    """What became of one file."""

    source: str
    format: Format | Kind
    version: str | None = Field(description="the newest FOCUS version whose columns it has")
    sha256: str
    rows: int
    refused: int
    refusals: tuple[Refusal, ...] = Field(description="the first thousand; Bills.refusals gives all")
    totals: tuple[Total, ...]
    absent: tuple[str, ...] = Field(description="columns of the format that the file lacks")
    ignored: tuple[str, ...] = Field(description="columns of the file that the format doesn't know")
    notes: tuple[str, ...] = Field(description="defects that were survived, with how many rows")


class Rule(Frozen):
    """A published rule by which a saving is found."""

    id: str
    title: str
    published: str = Field(description="who published it, under which name")
    certainty: Certainty
    effort: Effort
    precedence: int = Field(description="the lowest takes a row that several rules would take")
    action: str
    risk: str
    assumed: str = Field(default="", description="what its saving rests on that no source of ours publishes")


class Rows(Frozen):
    """Rows of one source, by their numbers after the header.

    An answer of an inventory tells of many resources: then `part` is the one that is meant.
    """

    source: str
    records: tuple[int, ...]
    part: str = ""


class Finding(Frozen):
    """Money that a published rule says is spent in vain, in one account and currency.

    `billed` is what its rows were billed, `at_stake` the part that the rule doubts, `saving` the part that the
    rule's act would have saved: never more than `billed`. All three are for the time that the rows span, `months`
    long. What an inventory shows is billed what its provider estimates for a month, requests what a price list says.
    """

    rule: Rule
    provider: str
    account: str
    currency: str
    resources: tuple[str, ...]
    rows: tuple[Rows, ...]
    billed: Decimal
    at_stake: Decimal
    saving: Decimal
    months: int = Field(ge=1)
    why: str


class CommitmentUse(Frozen):
    """How much of one commitment was used, in amortised cost."""

    provider: str
    commitment: str
    kind: str
    currency: str
    used: Decimal
    unused: Decimal
    purchased: Decimal

    @property
    def utilisation(self) -> Decimal | None:
        """The used part, 0 to 1; None where nothing was due."""
        whole = self.used + self.unused
        return self.used / whole if whole else None


class ContractUse(Frozen):
    """What of one commitment of a contract the bills show as used, in amortised cost, and by which rows.

    `cost` is what was agreed on for all of `started` to `ended`; None, as those, where the contract tells none.
    """

    contract: str
    commitment: str
    kind: str
    currency: str
    cost: Decimal | None
    started: datetime | None
    ended: datetime | None
    used: Decimal
    unused: Decimal
    rows: tuple[Rows, ...]

    @property
    def utilisation(self) -> Decimal | None:
        """The used part of what was due so far, 0 to 1; None where nothing was due."""
        whole = self.used + self.unused
        return self.used / whole if whole else None

    @property
    def coverage(self) -> Decimal | None:
        """The part of what was agreed on that was used so far; above 1 where more was; None where no cost was told."""
        return self.used / self.cost if self.cost else None


class Coverage(Frozen):
    """How much of the spend that commitments could cover they do cover, by provider and programme."""

    provider: str
    programme: str
    currency: str
    covered: Decimal
    eligible: Decimal

    @property
    def uncovered(self) -> Decimal:
        """What was paid on demand."""
        return self.eligible - self.covered


class Tagging(Frozen):
    """How much usage bears no tag at all."""

    provider: str
    currency: str
    usage: Decimal
    untagged: Decimal
    untagged_rows: int


class ModelSpend(Frozen):
    """What was billed of one AI model, as FOCUS tells it; `quantity` is in the row's pricing unit."""

    provider: str
    model: str
    direction: str
    cache: str
    currency: str
    quantity: Decimal | None
    billed: Decimal


class Anomaly(Frozen):
    """A day on which a service cost far more than its other days of that kind."""

    provider: str
    account: str
    service: str
    currency: str
    day: date
    cost: Decimal
    usual: Decimal
    score: float = Field(description="Iglewicz and Hoaglin's modified z-score")
