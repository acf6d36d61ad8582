"""The plugin keeps order: which tests count, what they must say, what can be had again, what is reported."""

import pytest

from .runs import Run

VALUED = """
import pytest
from netra_fixtures import Goal, Tier, business_value

@business_value(tier=Tier.EARLY, goals={Goal.RETENTION}, impact="visits are counted for everybody")
@pytest.mark.parametrize("turn", range(8))
async def test_visit(redis_client, turn):
    \"\"\"Each visit counts once.\"\"\"
    assert await redis_client.incr("visits") == 1

def test_unit():
    pass
"""


def test_a_test_is_an_integration_test_because_it_asks_for_a_service(run: Run) -> None:
    """Nobody has to sort tests into folders, and nobody can forget to."""
    outcome = run(VALUED)

    outcome.result.assert_outcomes(passed=9)
    assert outcome.report["totals"]["integration"] == 8
    assert outcome.report["totals"]["unit"] == 1
    run(VALUED, "-m", "integration").result.assert_outcomes(passed=8, deselected=1)


def test_the_report_says_what_each_test_is_worth_and_proves(run: Run) -> None:
    """A reader who knows no Python finds the sentence, the tier and the goal."""
    outcome = run(VALUED, "-n", "2")

    test = outcome.test("-3]")
    assert test["doc"] == "Each visit counts once."
    assert test["value"]["tier"] == "early"
    assert test["value"]["goals"] == ["user retention"]
    assert test["budgets"][0]["name"] == "redis operation"
    assert test["worker"] in {"gw0", "gw1"}
    assert {path.name for path in (outcome.folder / "reports/latest").iterdir()} == {
        "report.json",
        "report.md",
        "index.html",
        "junit.xml",
    }


def test_an_integration_test_without_a_value_is_refused_where_values_are_required(run: Run) -> None:
    """A proof that nobody says they need is not worth its time."""
    outcome = run(
        "async def test_visit(redis_client):\n    await redis_client.ping()\n",
        "-o",
        "netra_require_value=true",
    )

    outcome.result.assert_outcomes(errors=1)
    assert "an integration test says for whom it matters; add @business_value(" in outcome.text


def test_a_mock_is_refused_with_its_line(run: Run) -> None:
    """A test that talks to a stand-in proves that the stand-in works."""
    outcome = run(
        "from unittest.mock import AsyncMock\n\nasync def test_visit(redis_client):\n    await AsyncMock()()\n"
    )

    outcome.result.assert_outcomes(errors=1)
    assert "test_shop.py:1" in outcome.text


def test_a_mock_built_in_disguise_is_refused_where_it_is_built(run: Run) -> None:
    """Reading the source can't see every way to import; the running test is watched too."""
    outcome = run(
        """
        async def test_visit(redis_client):
            await redis_client.ping()
            getattr(__import__("unittest." + "mock").mock, "Magic" + "Mock")()
        """,
        started=True,
    )

    outcome.result.assert_outcomes(failed=1)
    assert "test_shop.py:3" in outcome.text


def test_a_seed_gives_the_same_order_and_the_same_draws_again(run: Run) -> None:
    """What chance broke on CI must break again on a laptop."""
    source = (
        "import pytest\n\n@pytest.mark.parametrize('turn', range(12))\n"
        "def test_draw(turn, rng):\n    print(turn, rng.random())\n"
    )

    first, second, other = (run(source, "-s", "--random-order", f"--seed={seed}").text for seed in (7, 7, 8))

    draws = [
        [line for line in text.splitlines() if line[:1].isdigit() or line[:1] == "."]
        for text in (first, second, other)
    ]
    assert draws[0] == draws[1] != draws[2]
    assert "netra: --seed=7" in first


def test_every_worker_draws_from_the_runs_seed(run: Run) -> None:
    """Workers that drew seeds of their own would show one and use another."""
    source = "def test_seed(netra_worker):\n    assert netra_worker.seed == 7\n"

    run(source, "-n", "2", "--seed=7").result.assert_outcomes(passed=1)


def test_a_run_without_junitxml_or_a_place_for_its_report_ends_as_its_tests_did(run: Run) -> None:
    """What the report needs must not break a run that proved something."""
    outcome = run(VALUED, "-p", "no:junitxml", "--report-dir=/proc/nowhere")

    outcome.result.assert_outcomes(passed=9)
    assert outcome.result.ret == pytest.ExitCode.OK
    assert "the report can't be written" in outcome.text


def test_a_run_without_integration_tests_leaves_the_last_report_alone(run: Run) -> None:
    """A quick run of unit tests must not hide what the last real run proved."""
    before = run(VALUED).report

    outcome = run("def test_unit():\n    pass\n")

    outcome.result.assert_outcomes(passed=1)
    assert outcome.report == before


def test_a_missed_budget_fails_the_run_only_when_asked(run: Run) -> None:
    """Budgets are a matter of the machine, unless a team says that this one counts."""
    source = """
    from netra_fixtures.budgets import REDIS

    async def test_slow(redis_client, netra_worker):
        await redis_client.ping()
        netra_worker.recorder.record(REDIS.name, 60_000)
    """

    assert run(source).result.ret == pytest.ExitCode.OK
    assert run(source, "--enforce-budgets").result.ret == pytest.ExitCode.TESTS_FAILED


def test_what_a_test_measured_itself_is_in_the_report(run: Run) -> None:
    """What happens in another process is held against its budget too, once the test says what it saw."""
    outcome = run(
        """
        from datetime import timedelta
        import pytest

        async def test_slow(redis_client, measured):
            await redis_client.ping()
            measured("event delivery", timedelta(milliseconds=80))
            with pytest.raises(ValueError, match="no budget 'lunch'"):
                measured("lunch", timedelta(0))
        """
    )

    [found] = [one for one in outcome.report["budgets"] if one["name"] == "event delivery"]
    assert (found["count"], found["max_ms"], found["held"]) == (1, 80, False)


def test_a_crashed_worker_is_reported_and_the_others_go_on(run: Run) -> None:
    """One crash must not cost the results of the rest, nor pass unseen."""
    outcome = run(
        """
        import os, signal
        import pytest

        @pytest.mark.parametrize("turn", range(10))
        async def test_visit(redis_client, turn):
            if turn == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            assert await redis_client.incr("visits") == 1
        """,
        "-n",
        "2",
    )

    outcome.result.assert_outcomes(passed=9, failed=1)
    assert outcome.report["totals"]["failed"] == 1
    assert outcome.report["run"]["verdict"] == "failed"
