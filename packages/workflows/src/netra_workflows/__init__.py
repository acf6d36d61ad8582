"""What users come for: from a bill to a decision, on published rules and to the cent."""

from netra_workflows.analysis import Analysis, AnalysisPolicy, analyse
from netra_workflows.bills import Bills
from netra_workflows.errors import (
    BillKnown,
    BillRefused,
    BillUnreadable,
    MixedCurrencies,
    PlanUnproved,
    UnknownColumns,
    WorkflowsError,
)
from netra_workflows.model import (
    Anomaly,
    Certainty,
    CommitmentUse,
    Coverage,
    Effort,
    Finding,
    Format,
    Ingested,
    Refusal,
    Rows,
    Rule,
    Tagging,
    Total,
)
from netra_workflows.plan import Commitment, CommitmentPlan, Offer, Proof

__all__ = [
    "Analysis",
    "AnalysisPolicy",
    "Anomaly",
    "BillKnown",
    "BillRefused",
    "BillUnreadable",
    "Bills",
    "Certainty",
    "Commitment",
    "CommitmentPlan",
    "CommitmentUse",
    "Coverage",
    "Effort",
    "Finding",
    "Format",
    "Ingested",
    "MixedCurrencies",
    "Offer",
    "PlanUnproved",
    "Proof",
    "Refusal",
    "Rows",
    "Rule",
    "Tagging",
    "Total",
    "UnknownColumns",
    "WorkflowsError",
    "analyse",
]
