"""What the tests of a bill share: DuckDB in memory, a way to write a bill, and the third-party bills."""

import csv
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from netra_fixtures import IsolatedEnvironment, PostgresEndpoint, RedisEndpoint, StartProgram
from netra_workflows import Bills

from .installation import (
    GatewayProcess,
    Installation,
    WorkerProcess,
    installed,
    start_gateway,
    start_worker,
)

WriteBill = Callable[..., Path]

ROW = {
    "BilledCost": "10", "EffectiveCost": "10", "ListCost": "10", "ContractedCost": "10",
    "BillingAccountId": "payer", "SubAccountId": "shop", "BillingCurrency": "USD",
    "BillingPeriodStart": "2026-03-01T00:00:00Z", "BillingPeriodEnd": "2026-04-01T00:00:00Z",
    "ChargePeriodStart": "2026-03-02T00:00:00Z", "ChargePeriodEnd": "2026-03-02T01:00:00Z",
    "ChargeCategory": "Usage", "ChargeClass": "", "ChargeDescription": "something", "ChargeFrequency": "Usage-Based",
    "PricingCategory": "Standard", "PricingQuantity": "1", "PricingUnit": "Hours", "ProviderName": "AWS",
    "RegionId": "us-east-1", "ResourceId": "thing-1", "ServiceName": "Amazon Elastic Compute Cloud",
    "ServiceCategory": "Compute", "SkuPriceId": "", "CommitmentDiscountId": "", "CommitmentDiscountType": "",
    "CommitmentDiscountStatus": "", "Tags": '{"team": "web"}',
}  # fmt: skip


@pytest.fixture(scope="session")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB, started once: that takes longer than to read a small bill."""
    with duckdb.connect(":memory:", config={"memory_limit": "512MB", "threads": 1}) as duck:
        yield duck


@pytest.fixture
def bills(duck: duckdb.DuckDBPyConnection) -> Iterator[Bills]:
    """Bills of one test, in memory: a connection and a database of its own."""
    with duck.cursor() as connection:
        connection.execute("attach ':memory:' as own")
        connection.execute("use own")
        yield Bills(connection)
    duck.execute("detach own")


def written(
    path: Path, *rows: Mapping[str, str], without: tuple[str, ...] = (), more: tuple[str, ...] = ()
) -> Path:
    """Write a FOCUS bill of rows that each say only what differs from an ordinary hour of usage."""
    columns = [*(column for column in ROW if column not in without), *more]
    with path.open("w", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(ROW | dict(row) for row in rows)
    return path


@pytest.fixture
def write_bill(tmp_path: Path) -> WriteBill:
    """Write a bill into the test's folder."""

    def write(*rows: Mapping[str, str], name: str = "bill.csv", **columns: tuple[str, ...]) -> Path:
        return written(tmp_path / name, *rows, **columns)

    return write


@pytest.fixture
async def installation(
    engine: AsyncEngine, redis_client: Redis, namespace: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    """The platform on the test's own servers."""
    async with installed(engine, redis_client, namespace, tmp_path / "bills") as opened:
        yield opened


@pytest.fixture
def worker_process(
    start_program: StartProgram, environment: IsolatedEnvironment, postgres_endpoint: PostgresEndpoint,
    redis_endpoint: RedisEndpoint, namespace: str, tmp_path: Path,
) -> Callable[[], Coroutine[Any, Any, WorkerProcess]]:  # fmt: skip
    """Start worker processes."""
    told = environment, postgres_endpoint, redis_endpoint, namespace, tmp_path / "bills"
    return partial(start_worker, start_program, *told)


@pytest.fixture
async def gateway_process(
    installation: Installation, start_program: StartProgram, environment: IsolatedEnvironment,
    postgres_endpoint: PostgresEndpoint, redis_endpoint: RedisEndpoint, namespace: str, tmp_path: Path,
) -> GatewayProcess:  # fmt: skip
    """A gateway in a process of its own, to kill and to start again."""
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps(installation.keys.jwks()))
    return await start_gateway(start_program, environment, postgres_endpoint, redis_endpoint, namespace, keys)
