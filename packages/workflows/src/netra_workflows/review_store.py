"""Plans, their trails, comments and notices in PostgreSQL: every statement of the collaboration."""

import json
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_workflows.database import Database, Transaction
from netra_workflows.errors import PlanChanged, PlanNotFound
from netra_workflows.model import Frozen
from netra_workflows.review import Act, Comment, Entry, Planned, SharedPlan


def _statement(sql: str) -> TextClause:
    return text(sql.replace("@ours", "namespace = :namespace and tenant = :tenant"))


_COLUMNS: Final = "id, state, revision, left_out, done, submitted_by, endorsed_by, approved_by, made_at"
_ONE: Final = _statement(f"select {_COLUMNS} from workflows.plan where id = :id and @ours")  # nosec B608
_STEPS: Final = text("select * from workflows.step where plan = :id order by number")
_LIST: Final = _statement("select id from workflows.plan where @ours order by made_at desc, id limit :most")
_MOVE: Final = _statement(
    "with moved as (update workflows.plan set state = :state, revision = revision + 1, left_out = :left_out,"
    " done = :done, submitted_by = :submitted_by, endorsed_by = :endorsed_by, approved_by = :approved_by"
    " where id = :id and @ours and revision = :base returning id, revision)"
    " insert into workflows.trail (plan, revision, actor, act, became, step, said)"
    " select id, revision, :actor, :act, :state, cast(:step as integer), :said from moved returning revision"
)
_COMMENT: Final = _statement(
    "insert into workflows.comment (plan, author, said)"
    " select id, :author, :said from workflows.plan where id = :id and @ours returning id"
)
_CONCERN: Final = text(
    "insert into workflows.concerned (plan, user_id) select :id, u from unnest(cast(:users as text[])) as u"
    " on conflict do nothing"
)
_NOTIFY: Final = text(
    "insert into workflows.notice (namespace, plan, user_id, event_id, content)"
    " select :namespace, plan, user_id, :event_id, cast(:content as json)"
    " from workflows.concerned where plan = :id"
)
_TRAIL: Final = _statement(
    "select revision, actor, act, became, step, said, at from workflows.trail"
    " where plan = (select id from workflows.plan where id = :id and @ours) order by revision"
)
_COMMENTS: Final = _statement(
    "select id, author, said, at from workflows.comment"
    " where plan = (select id from workflows.plan where id = :id and @ours) order by id"
)
_UNSENT: Final = text(
    "select id, plan, user_id, event_id, cast(content as text) as content from workflows.notice"
    " where namespace = :namespace order by id limit :most"
)
_SENT: Final = text("delete from workflows.notice where id = any(:ids)")


class Notice(Frozen):
    """Something that one person is to see."""

    id: int
    plan: UUID
    user_id: str
    event_id: str
    content: JsonValue


class ReviewStore:
    """The plans of one installation; a call that is not answered raises `StoreUnavailable`."""

    def __init__(self, engine: AsyncEngine, namespace: str, *, deadline: timedelta) -> None:
        self._database = Database(engine, deadline=deadline)
        self._namespace = namespace

    async def plan(self, id: UUID, tenant: str) -> SharedPlan:
        """Return a plan of a tenant.

        Raises:
            PlanNotFound: the tenant has none of that id.
        """
        async with self._database.transaction() as transaction:
            rows = await transaction.execute(_ONE, id=id, **self._ours(tenant))
            if not rows:
                raise PlanNotFound
            steps = await transaction.execute(_STEPS, id=id)
        own = dict(rows[0]._mapping)
        planned = tuple(
            Planned(**{name: step._mapping[name] for name in Planned.model_fields}) for step in steps
        )
        return SharedPlan(
            **own | {"steps": planned, "left_out": tuple(own["left_out"]), "done": tuple(own["done"])}
        )

    async def plans(self, tenant: str, *, most: int) -> Sequence[UUID]:
        """Return the ids of a tenant's plans, the newest first."""
        return [row.id for row in await self._database.execute(_LIST, most=most, **self._ours(tenant))]

    async def move(
        self, before: SharedPlan, after: SharedPlan, tenant: str, act: Act, *, actor: str, step: int | None,
        said: str,
    ) -> None:  # fmt: skip
        """Make one act: the plan as it is after, its entry in the trail, and notices for those concerned.

        Raises:
            PlanChanged: the plan is no longer as it was before.
        """
        values = after.model_dump(include={"left_out", "done", "submitted_by", "endorsed_by", "approved_by"})
        values |= {"left_out": list(after.left_out), "done": list(after.done), "state": after.state.value}
        async with self._database.transaction() as transaction:
            moved = await transaction.execute(
                _MOVE, id=after.id, base=before.revision, actor=actor, act=act.value, step=step, said=said,
                **values, **self._ours(tenant),
            )  # fmt: skip
            if not moved:
                rows = await transaction.execute(_ONE, id=after.id, **self._ours(tenant))
                raise PlanChanged(before.revision, rows[0].revision)
            content: dict[str, Any] = {
                "act": act.value,
                "by": actor,
                "state": after.state.value,
                "revision": after.revision,
            }
            content |= {"step": step, "said": said}
            await self._tell(transaction, after.id, {actor}, f"{after.id}/revision/{after.revision}", content)

    async def comment(self, id: UUID, tenant: str, *, author: str, said: str) -> int:
        """Add a comment, and notices for those concerned.

        Raises:
            PlanNotFound: the tenant has no such plan.
        """
        async with self._database.transaction() as transaction:
            rows = await transaction.execute(_COMMENT, id=id, author=author, said=said, **self._ours(tenant))
            if not rows:
                raise PlanNotFound
            number: int = rows[0].id
            content = {"act": "commented", "by": author, "said": said}
            await self._tell(transaction, id, {author}, f"{id}/comment/{number}", content)
        return number

    async def concern(self, id: UUID, users: Collection[str]) -> None:
        """Let *users* hear of the plan from now on."""
        await self._database.execute(_CONCERN, id=id, users=sorted(users))

    async def trail(self, id: UUID, tenant: str) -> tuple[Entry, ...]:
        """Return the acts on a plan, in order; none where the tenant has no such plan."""
        return tuple(
            Entry(**row._mapping) for row in await self._database.execute(_TRAIL, id=id, **self._ours(tenant))
        )

    async def comments(self, id: UUID, tenant: str) -> tuple[Comment, ...]:
        """Return what was said about a plan, in order; nothing where the tenant has no such plan."""
        return tuple(
            Comment(**row._mapping)
            for row in await self._database.execute(_COMMENTS, id=id, **self._ours(tenant))
        )

    async def unsent(self, *, most: int) -> Sequence[Notice]:
        """Return what is still to be told, in order."""
        rows = await self._database.execute(_UNSENT, namespace=self._namespace, most=most)
        return [Notice(**{**row._mapping, "content": json.loads(row.content)}) for row in rows]

    async def sent(self, notices: Collection[Notice]) -> None:
        """Forget what was told."""
        await self._database.execute(_SENT, ids=[one.id for one in notices])

    async def _tell(
        self,
        transaction: Transaction,
        id: UUID,
        more: Collection[str],
        event_id: str,
        content: dict[str, Any],
    ) -> None:
        await transaction.execute(_CONCERN, id=id, users=sorted(more))
        await transaction.execute(
            _NOTIFY, id=id, namespace=self._namespace, event_id=event_id, content=json.dumps(content)
        )

    def _ours(self, tenant: str) -> dict[str, str]:
        return {"namespace": self._namespace, "tenant": tenant}
