"""The first thing that somebody tries works."""

import re
from pathlib import Path

import pytest

from netra_fixtures import Goal, PostgresEndpoint, RedisEndpoint, Tier, business_value

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.EFFICIENCY}, impact="a developer has sessions after one copy and paste"
)
README = Path(__file__).parents[1] / "README.md"


EXAMPLES = re.findall(r"```python\n(import .*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
PRINTED = [
    ["signed out", "the session was ended (signed out); ask the user to sign in again"],
    ["agent_started triage"],
]


@pytest.mark.fresh_database
@pytest.mark.parametrize(
    ("example", "printed"), list(zip(EXAMPLES, PRINTED, strict=True)), ids=["sessions", "events"]
)
def test_an_example_of_the_readme_runs(
    postgres_endpoint: PostgresEndpoint,
    redis_endpoint: RedisEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    example: str,
    printed: list[str],
) -> None:
    """Documentation that does not run costs every reader an hour."""
    monkeypatch.setenv("DATABASE_URL", postgres_endpoint.url())
    monkeypatch.setenv("REDIS_URL", redis_endpoint.url)

    exec(compile(example, README, "exec"), {"__name__": "__main__"})

    assert capsys.readouterr().out.splitlines() == printed
