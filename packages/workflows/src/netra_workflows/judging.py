"""A tenant's uploads judged together: bills beside inventories, and requests to models beside their prices."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from netra_workflows.analysis import Analysis, analyse
from netra_workflows.bills import Bills
from netra_workflows.errors import BillUnreadable
from netra_workflows.estimates import IDLE, estimate
from netra_workflows.files import digest, is_parquet, lines
from netra_workflows.inventory import LONGEST_ANSWER, InventoryFinding, read_inventory
from netra_workflows.model import Ingested, Kind
from netra_workflows.prices import Model, model_named, read_prices
from netra_workflows.tokens import TokenSpend, cost_of, read_requests, token_spend

Proofs = Mapping[tuple[str, int, str], Decimal]
"""What each row was billed, by source, record and the part of it that is meant."""
_LENGTHS: Final = ({"ContextTokens", "GeneratedTokens"}, {"input_length", "output_length"})


class Upload(NamedTuple):
    """A file under its name; `at` is when it was uploaded, and the day that ages are counted to."""

    name: str
    kind: Kind
    path: Path
    at: datetime


def kind_of(path: Path) -> Kind:
    """Tell what a file is by its beginning; what is nothing else is a bill, which is refused by what it lacks."""
    try:
        if is_parquet(path):
            return Kind.BILL
        first = (
            next(lines(path, path.name, longest=LONGEST_ANSWER), b"").removeprefix(b"\xef\xbb\xbf").strip()
        )
        return _kind_of(first, path)
    except (BillUnreadable, OSError):
        return Kind.BILL


def _kind_of(first: bytes, path: Path) -> Kind:
    if not first.startswith(b"{"):
        header = first.decode("utf-8", errors="replace").split(",")
        return Kind.REQUESTS if _LENGTHS[0] <= {*header} else Kind.BILL
    try:
        told = json.loads(first)
    except (ValueError, RecursionError):
        told = {}
    if _LENGTHS[1] <= told.keys():
        return Kind.REQUESTS
    if isinstance(told.get("data"), dict):
        return Kind.INVENTORY
    return Kind.PRICES if _is_table(path) else Kind.BILL


def _is_table(path: Path) -> bool:
    """Tell a price list by its first models: somebody provides each."""
    begun = 0
    for line in lines(path, path.name, longest=LONGEST_ANSWER):
        if b'"litellm_provider"' in line:
            return True
        begun += len(line)
        if begun > 1 << 20:
            break
    return False


def read(bills: Bills, upload: Upload) -> Ingested:
    """Read one upload to its end, and tell what it holds.

    Raises:
        BillRefused: it can't be read, or is none of what is known.
    """
    if upload.kind is Kind.BILL:
        return bills.ingest(upload.path, name=upload.name)
    if upload.kind is Kind.INVENTORY:
        found = read_inventory({upload.name: upload.path}, as_of=upload.at)
        rows = sum(1 for _ in lines(upload.path, upload.name, longest=LONGEST_ANSWER))
        return _told(upload, rows, f"{len(found)} resources could cost less, or are not needed")
    if upload.kind is Kind.PRICES:
        return _told(
            upload, len(read_prices(upload.path, name=upload.name)), "each row is a model with its prices"
        )
    requests = [*read_requests(upload.path, name=upload.name)]
    tokens = sum(request.input for request in requests), sum(request.output for request in requests)
    return _told(upload, len(requests), "{:,} tokens in, {:,} out".format(*tokens))


def _told(upload: Upload, rows: int, note: str) -> Ingested:
    return Ingested(
        source=upload.name, format=upload.kind, version=None, sha256=digest(upload.path), rows=rows, refused=0,
        refusals=(), totals=(), absent=(), ignored=(), notes=(note,),
    )  # fmt: skip


def judge(bills: Bills, uploads: Sequence[Upload]) -> tuple[Analysis, Proofs]:
    """Find what could have cost less in all of them together, none of it twice, with what proves each amount.

    Raises:
        BillRefused: one of them can't be read.
    """
    told = [read(bills, upload) for upload in uploads]
    shown = [upload for upload in uploads if upload.kind is Kind.INVENTORY]
    inventory = read_inventory(
        {upload.name: upload.path for upload in shown}, as_of=max(upload.at for upload in shown)
    ) if shown else ()  # fmt: skip
    tokens, costs, warnings = _spent(uploads)
    analysis = analyse(bills, inventory=inventory, tokens=tokens)
    analysis = analysis.model_copy(update={"read": tuple(told), "warnings": (*analysis.warnings, *warnings)})
    return analysis, {**proofs(bills, analysis), **_estimated(analysis, inventory), **costs}


def _spent(
    uploads: Iterable[Upload],
) -> tuple[list[TokenSpend], dict[tuple[str, int, str], Decimal], list[str]]:
    """Price each file of requests by the model that it is called after."""
    models: dict[str, Model] = {}
    for upload in uploads:
        if upload.kind is Kind.PRICES:
            models |= read_prices(upload.path, name=upload.name)
    spends, warnings = [], []
    costs: dict[tuple[str, int, str], Decimal] = {}
    for upload in uploads:
        if upload.kind is not Kind.REQUESTS:
            continue
        model = model_named(upload.name, models)
        if model is None:
            warnings.append(
                f"{upload.name} was not judged: upload a price list, and name the model in the file's name"
            )
            continue
        asked = [*read_requests(upload.path, name=upload.name)]
        spend = token_spend(upload.name, asked, model, models, as_of=upload.at.date())
        spends.append(spend)
        if spend.finding:
            costs |= {(upload.name, one.record, ""): cost_of([one], model) for one in asked}
    return spends, costs, warnings


def proofs(bills: Bills, analysis: Analysis) -> Proofs:
    """Look up what each row of a finding was billed."""
    own = {one.source for one in bills.read}
    wanted = [
        (rows.source, record)
        for finding in analysis.findings for rows in finding.rows if rows.source in own for record in rows.records
    ]  # fmt: skip
    if not wanted:
        return {}
    found = bills.connection.execute(
        "select source.name, charge.record, charge.billed from charge join source using (source_id)"
        " join (select unnest(cast(? as varchar[])) as name, unnest(cast(? as bigint[])) as record) as wanted"
        " on source.name = wanted.name and charge.record = wanted.record",
        [list(column) for column in zip(*wanted, strict=True)],
    ).fetchall()
    return {(source, record, ""): billed for source, record, billed in found}


def _estimated(analysis: Analysis, inventory: Iterable[InventoryFinding]) -> Proofs:
    """Tell what each answer stands for: the first that shows a resource for its cost, unless a bill tells that."""
    costs = {(one.provider, one.resource): estimate(one) for one in inventory}
    found: dict[tuple[str, int, str], Decimal] = {}
    for finding in analysis.findings:
        untold = {rows.part for rows in finding.rows} if finding.rule.id != IDLE else set()
        for rows in finding.rows:
            for record in rows.records if rows.part else ():
                told = costs[finding.provider, rows.part] if rows.part in untold else Decimal(0)
                found[rows.source, record, rows.part] = told
                untold.discard(rows.part)
    return found
