"""The first thing that somebody tries works."""

import re
from pathlib import Path

import pytest

from netra_fixtures import Goal, PostgresEndpoint, PrivateRedis, Tier, business_value

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.EFFICIENCY}, impact="a developer has settings after one copy and paste"
)
README = Path(__file__).parents[1] / "README.md"


@pytest.mark.fresh_database
def test_the_example_of_the_readme_runs(
    postgres_endpoint: PostgresEndpoint,
    private_redis: PrivateRedis,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Documentation that does not run costs every reader an hour."""
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.setenv("DATABASE_URL", postgres_endpoint.url())
    monkeypatch.setenv("REDIS_URL", private_redis.endpoint.url)
    monkeypatch.setenv("NETRA_MODEL", "small-2")

    exec(compile(example, README, "exec"), {"__name__": "__main__"})

    assert capsys.readouterr().out.splitlines() == [
        "small-2 3 ()",
        "small-2 5 ('dark',)",
        "/values/retries: Input should be less than or equal to 10",
        "3 SPLIT",
    ]
