"""The runs in PostgreSQL, as those who ask for them see them: every SQL statement about them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from pydantic import JsonValue
from pydantic_core import from_json
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_agents.database import Database, Statement
from netra_agents.run import Caller, Run, RunId, RunState, StepResult, StepState, TenantId

_ADD = Statement(
    "with added as (insert into agents.run (id, namespace, tenant, user_id, tier, priority, tenant_limit, plan,"
    " version, plan_key, input, idempotency_key, state, due_at) values (:id, :namespace, :tenant, :user, :tier,"
    " :priority, :tenant_limit, :plan, :version, :plan_key, cast(:input as json), :key, 'queued',"
    " clock_timestamp() + cast(:within as interval)) on conflict (namespace, tenant, idempotency_key)"
    " where idempotency_key is not null do nothing returning id),"
    " steps as (insert into agents.step (run, name, position, agent, version)"
    " select r.id, s.name, s.position, s.agent, s.version from added r, json_to_recordset(cast(:steps as json))"
    " as s(name text, position integer, agent text, version text) returning run)"
    " select id, pg_notify('agents', cast(:namespace as text) || ' new ' || id) from added"
)
_VIEW = Statement(
    "select agents.view_of(r) as view from agents.run r"
    " where id = :id and namespace = :namespace and tenant = :tenant"
)
_VIEWS = Statement(
    "select r.id, agents.view_of(r) as view from agents.run r where namespace = :namespace"
    " and id > :after order by id limit :most"
)
_KNOWN = Statement(
    "select r.id, agents.view_of(r) as view from agents.run r where namespace = :namespace"
    " and id = any(cast(cast(:runs as text[]) as uuid[]))"
)
_LIST = Statement(
    "select agents.view_of(r) as view from agents.run r where namespace = :namespace and tenant = :tenant"
    " and (cast(:state as text) is null or state = :state) order by created_at desc, id limit :most"
)
_PARKED = Statement(
    "select agents.view_of(r) as view from agents.run r where namespace = :namespace and state = 'parked'"
    " order by created_at, id limit :most"
)
_END = Statement(
    "select state, result::text as result, error, message from agents.run"
    " where id = :id and namespace = :namespace and tenant = :tenant"
)
_OF_KEY = Statement(
    "select id, plan_key, input::text as input from agents.run where namespace = :namespace and tenant = :tenant"
    " and idempotency_key = :key"
)
_STEP_RESULTS = Statement(
    "select s.name, s.state, s.result::text as result from agents.step s join agents.run r on r.id = s.run"
    " where r.id = :id and r.namespace = :namespace and r.tenant = :tenant order by s.position"
)
_CANCEL = Statement(
    "with asked as (update agents.run set cancel_requested = true, revision = revision + 1 where id = :id and"
    " namespace = :namespace and tenant = :tenant and ended_at is null and not cancel_requested returning id)"
    " select id, pg_notify('agents', cast(:namespace as text) || ' cancel ' || id) from asked"
)
_END_IDLE = Statement(
    "select agents.end_idle(id, 'cancelled', 'Cancelled', 'it was cancelled') as view from agents.run where id = :id"
    " and namespace = :namespace and tenant = :tenant"
)
_RELEASE = Statement(
    "with freed as (update agents.run set state = 'queued', attempts = 0, error = null, message = null,"
    " executor = null, due_at = clock_timestamp() + cast(:within as interval), revision = revision + 1"
    " where id = :id and namespace = :namespace and state = 'parked' returning *)"
    " select agents.view_of(cast(row(f.*) as agents.run)) as view,"
    " pg_notify('agents', cast(:namespace as text) || ' new ' || f.id) from freed f"
)


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run that is to be added, its input as canonical JSON."""

    id: RunId
    caller: Caller
    plan: str
    version: str
    plan_key: str
    input: str
    steps: Sequence[tuple[str, str, str]]
    within: timedelta
    priority: int
    tenant_limit: int
    key: str | None


@dataclass(frozen=True, slots=True)
class End:
    """How a run stands, and what it ended with."""

    state: RunState
    result: JsonValue
    error: str
    message: str


class RunStore:
    """The runs of one installation; any call may raise `StoreUnavailable`."""

    def __init__(self, engine: AsyncEngine, namespace: str, *, deadline: timedelta) -> None:
        self._database = Database(engine, deadline=deadline)
        self._namespace = namespace

    async def add(self, new: NewRun) -> bool:
        """Add a queued run; False where its key is another's."""
        steps = [
            {"name": name, "position": position, "agent": agent, "version": version}
            for position, (name, agent, version) in enumerate(new.steps)
        ]
        rows = await self._database.execute(
            _ADD, id=new.id, namespace=self._namespace, tenant=new.caller.tenant, user=new.caller.user,
            tier=new.caller.tier.value, priority=new.priority, tenant_limit=new.tenant_limit, plan=new.plan,
            version=new.version, plan_key=new.plan_key, input=new.input, key=new.key, steps=json.dumps(steps),
            within=new.within,
        )  # fmt: skip
        return bool(rows)

    async def of_key(self, tenant: TenantId, key: str) -> tuple[RunId, str, str] | None:
        """Find the run that a key belongs to: its id, its plan's key and its input."""
        rows = await self._database.execute(_OF_KEY, namespace=self._namespace, tenant=tenant, key=key)
        return (RunId(rows[0]["id"]), rows[0]["plan_key"], rows[0]["input"]) if rows else None

    async def view(self, run: RunId, tenant: TenantId) -> str | None:
        """Return what screens show of a run."""
        rows = await self._database.execute(_VIEW, id=run, namespace=self._namespace, tenant=tenant)
        return rows[0]["view"] if rows else None

    async def views(self, after: UUID, *, most: int) -> list[tuple[RunId, str]]:
        """Return what screens show of all runs, by id, a page after the id *after*."""
        rows = await self._database.execute(_VIEWS, namespace=self._namespace, after=after, most=most)
        return [(RunId(row["id"]), row["view"]) for row in rows]

    async def views_of(self, runs: Sequence[RunId]) -> dict[RunId, str]:
        """Return what screens show of those of *runs* that there are."""
        rows = await self._database.execute(
            _KNOWN, namespace=self._namespace, runs=[str(run) for run in runs]
        )
        return {RunId(row["id"]): row["view"] for row in rows}

    async def of_tenant(self, tenant: TenantId, state: RunState | None, *, most: int) -> list[Run]:
        """Return a tenant's runs, the newest first."""
        rows = await self._database.execute(
            _LIST, namespace=self._namespace, tenant=tenant, state=state and state.value, most=most
        )
        return [Run.model_validate_json(row["view"]) for row in rows]

    async def parked(self, *, most: int) -> list[Run]:
        """Return the runs of all tenants that were set aside, the oldest first."""
        rows = await self._database.execute(_PARKED, namespace=self._namespace, most=most)
        return [Run.model_validate_json(row["view"]) for row in rows]

    async def end(self, run: RunId, tenant: TenantId) -> End | None:
        """Return how a run stands; None where there is no such run."""
        rows = await self._database.execute(_END, id=run, namespace=self._namespace, tenant=tenant)
        if not rows:
            return None
        row = rows[0]
        result = None if row["result"] is None else from_json(row["result"])
        return End(RunState(row["state"]), result, row["error"] or "", row["message"] or "")

    async def step_results(self, run: RunId, tenant: TenantId) -> list[StepResult]:
        """Return what the steps of a run came to."""
        rows = await self._database.execute(_STEP_RESULTS, id=run, namespace=self._namespace, tenant=tenant)
        return [
            StepResult(
                name=row["name"], state=StepState(row["state"]),
                result=None if row["result"] is None else from_json(row["result"]),
            )
            for row in rows
        ]  # fmt: skip

    async def cancel(self, run: RunId, tenant: TenantId) -> str | None:
        """Ask for a run's end, and end it where nobody carries it; returns its view if it ended here."""
        which = {"id": run, "namespace": self._namespace, "tenant": tenant}
        await self._database.execute(_CANCEL, **which)
        rows = await self._database.execute(_END_IDLE, **which)
        return rows[0]["view"] if rows else None

    async def release(self, run: RunId, *, within: timedelta) -> str | None:
        """Queue a parked run again; returns its view, None where it isn't parked."""
        rows = await self._database.execute(_RELEASE, id=run, namespace=self._namespace, within=within)
        return rows[0]["view"] if rows else None
