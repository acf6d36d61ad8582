"""The first thing that somebody tries works."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from netra_auth import KeyRing, SigningKey, TokenRefused
from netra_fixtures import Goal, PostgresEndpoint, PrivateRedis, Tier, business_value
from netra_sessions.settings import GatewaySettings

pytestmark = business_value(
    tier=Tier.FREE, goals={Goal.EFFICIENCY}, impact="a developer has sessions after one copy and paste"
)
README = Path(__file__).parents[1] / "README.md"


*EXAMPLES, GATEWAY = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
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
    private_redis: PrivateRedis,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    example: str,
    printed: list[str],
) -> None:
    """Documentation that does not run costs every reader an hour."""
    monkeypatch.setenv("DATABASE_URL", postgres_endpoint.url())
    monkeypatch.setenv("REDIS_URL", private_redis.endpoint.url)

    exec(compile(example, README, "exec"), {"__name__": "__main__"})

    assert capsys.readouterr().out.splitlines() == printed


@pytest.mark.fresh_database
async def test_a_gateway_process_is_told_as_the_readme_shows(
    postgres_endpoint: PostgresEndpoint, private_redis: PrivateRedis, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The variables that the page exports are those that are read, and its function opens a verifier."""
    page, module = README.read_text(encoding="utf-8"), dict[str, Any]()
    for name, value in re.findall(r"(?:export | )(NETRA_GATEWAY_\w+)=('.*?'|\S+)", page):
        monkeypatch.setenv(name, value.strip("'"))
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps(KeyRing(SigningKey.generate()).jwks()))
    monkeypatch.setenv("NETRA_GATEWAY_AUTHENTICATION", "netra_sessions:Authentication")
    monkeypatch.setenv("NETRA_GATEWAY_KEYS_FILE", str(keys))
    monkeypatch.setenv("NETRA_GATEWAY_DATABASE_URL", postgres_endpoint.url())
    monkeypatch.setenv("NETRA_GATEWAY_REDIS_URL", private_redis.endpoint.url)
    exec(compile(GATEWAY, README, "exec"), module)

    settings = GatewaySettings()  # type: ignore[call-arg]  # the environment has them
    async with module["authentication"](settings) as authentication:
        refusals = authentication.refusals

    assert refusals == (TokenRefused,)
    assert settings.origins == ("https://app.example.com",)
