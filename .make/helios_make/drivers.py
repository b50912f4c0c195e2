"""`make drivers [SELECT=…]`: real drivers, each directly and through Helios in transaction mode, with the same answers.

The programs of those that are not Python's are built in the cache, by the digest of their folder below e2e/drivers; the
tests look them up here. Locks and pinned hashes decide what is downloaded; what a build needs besides its result is
thrown away. Where a language is missing on the machine its driver is left out, and its tests say why they were skipped.
"""

import hashlib
import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from helios_make.errors import TargetError
from helios_make.go import go_environment
from helios_make.places import Places
from helios_make.results import Result, closing_line, table
from helios_make.stamps import digest
from helios_make.steps import Step, run_step, say
from helios_make.tests import run_pytest
from helios_make.tiers import DRIVERS as TIER
from helios_make.tiers import Tier, choose

__all__ = ["DRIVERS", "FOLDER", "driver_command", "ensure_drivers", "run", "why_not"]

FOLDER = Path("e2e", "drivers")
BY_HAND = {"node_modules", "target"}
"""What other tools may leave in a driver's folder; no part of it."""
MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"


@dataclass(frozen=True)
class Driver:
    """How a program is had and started."""

    needs: Sequence[str]
    """Programs of the machine."""
    build: Callable[[Places, Path], None]
    """Makes the program inside a folder that holds a copy of its sources."""
    command: Callable[[Path], list[str]]
    """Starts it from that folder."""


def run(places: Places) -> int:
    """Run the tests, all or those that SELECT (paths, or part of a name) means; 1 when one failed or none ran."""
    [tier] = choose(places.root, [Tier(TIER, [str(FOLDER)])], os.environ.get("HELIOS_SELECT", ""))
    result = Result(TIER)
    started = time.monotonic()
    run_pytest(places, tier, result)
    result.seconds = time.monotonic() - started
    print(f"\n{table([result])}\n\n{closing_line([result])}", flush=True)
    return 1 if result.failed or not result.passed else 0


def ensure_drivers(places: Places) -> None:
    """Have the programs of all drivers whose language this machine has.

    Raises:
        TargetError: a download is not what its lock says.
        StepFailed: a download or a build failed.
    """
    for name, driver in DRIVERS.items():
        reason = why_not(name)
        if reason:
            say(f"helios: driver {name} is left out: {reason}")
            continue
        folder = _folder(places, name)
        with places.lock(f"driver-{name}"):
            if not folder.is_dir():
                unfinished = folder.with_name(f"unfinished-{name}")
                shutil.rmtree(unfinished, ignore_errors=True)
                shutil.copytree(places.root / FOLDER / name, unfinished, ignore=shutil.ignore_patterns(*BY_HAND))
                driver.build(places, unfinished)
                for old in folder.parent.glob(f"{name}-*"):
                    shutil.rmtree(old)
                unfinished.rename(folder)


def why_not(name: str) -> str | None:
    """What the machine lacks for a driver; None when nothing."""
    missing = [program for program in DRIVERS[name].needs if shutil.which(program) is None]
    return f"{' and '.join(missing)} not found" if missing else None


def driver_command(places: Places, name: str) -> list[str] | None:
    """How a driver's program is started; None when it was not built."""
    folder = _folder(places, name)
    return DRIVERS[name].command(folder) if folder.is_dir() else None


def _folder(places: Places, name: str) -> Path:
    """Where the program of exactly these sources is, or will be."""
    source = places.root / FOLDER / name
    files = [each for each in source.rglob("*") if each.is_file() and not BY_HAND & set(each.relative_to(source).parts)]
    return places.cache / "drivers" / f"{name}-{digest(places.root, files, platform.machine())}"


def _build_node(places: Places, folder: Path) -> None:
    shutil.copy2(places.root / ".npmrc", folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(folder / "npm")]
    run_step(places, Step("Driver node-postgres", command, seconds=5, megabytes=1, cwd=folder))
    shutil.rmtree(folder / "npm")


def _build_go(places: Places, folder: Path) -> None:
    caches = folder / "go"
    command = ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", "pgx", "."]
    environment = go_environment(caches)
    step = Step("Driver pgx", command, seconds=40, megabytes=9, cwd=folder, environment=environment)
    run_step(places, step)
    shutil.rmtree(caches)


def _build_java(places: Places, folder: Path) -> None:
    jars, local = folder / "jars", folder / "maven"
    lines = (folder / "jars.txt").read_text(encoding="utf-8").splitlines()
    for coordinates, wanted in (line.split() for line in lines if not line.startswith("#")):
        command = ["mvn", "--batch-mode", "--quiet", f"-Dmaven.repo.local={local}", MAVEN_COPY]
        command += [f"-Dartifact={coordinates}", f"-DoutputDirectory={jars}"]
        run_step(places, Step("Driver pgjdbc", command, seconds=15, megabytes=1, cwd=folder))
        _, name, version = coordinates.split(":")
        found = hashlib.sha256((jars / f"{name}-{version}.jar").read_bytes()).hexdigest()
        if found != wanted:
            raise TargetError(f"{coordinates}: SHA-256 is {found}, {FOLDER / folder.name / 'jars.txt'} says {wanted}")
    shutil.rmtree(local)
    sources = [str(each) for each in sorted(folder.glob("*.java"))]
    command = ["javac", "--release", "17", "-d", "classes", "-cp", "jars/*", *sources]
    run_step(places, Step("Driver pgjdbc: compile", command, seconds=3, cwd=folder))


def _build_rust(places: Places, folder: Path) -> None:
    environment = {"CARGO_TARGET_DIR": str(folder / "target"), "CARGO_TERM_PROGRESS_WHEN": "never"}
    command = ["cargo", "build", "--locked"]
    step = Step("Driver tokio-postgres", command, seconds=40, megabytes=25, cwd=folder, environment=environment)
    run_step(places, step)
    (folder / "target" / "debug" / "helios-driver-tokio-postgres").rename(folder / "tokio-postgres")
    shutil.rmtree(folder / "target")


DRIVERS = {
    "node_postgres": Driver(["node", "npm"], _build_node, lambda folder: ["node", str(folder / "main.js")]),
    "pgx": Driver(["go"], _build_go, lambda folder: [str(folder / "pgx")]),
    "pgjdbc": Driver(
        ["java", "javac", "mvn"],
        _build_java,
        lambda folder: ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{folder / 'classes'}:{folder / 'jars'}/*", "Main"],
    ),
    "tokio_postgres": Driver(["cargo"], _build_rust, lambda folder: [str(folder / "tokio-postgres")]),
}
"""Folder below `FOLDER` → driver."""
