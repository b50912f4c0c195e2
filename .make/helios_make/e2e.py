"""`make e2e [LEVEL=…] [SELECT=…]`: the tests of e2e/kubernetes on real clusters, one table of levels at the end.

Without LEVEL each test runs on the smallest cluster that serves it: those that need no node at level apiserver, the
others at level node; with HELIOS_KUBECONFIG set, all of them on that cluster. With LEVEL all tests run that it serves.
SELECT is `smoke`, paths, or part of a name. Fewer tests run than `expected.toml` says is a failure where the level can
run, so that a test that is skipped by mistake does not stay unseen.
"""

import os
import subprocess
import time
import tomllib
from dataclasses import replace

from helios_make.cluster import cluster_command, cluster_environment
from helios_make.errors import TargetError
from helios_make.images import ensure_images
from helios_make.kubernetes import KUBECONFIG, LEVELS, ensure_programs
from helios_make.places import Places
from helios_make.results import Result, closing_line, table
from helios_make.steps import say
from helios_make.tests import run_pytest
from helios_make.tiers import CLUSTERS, Tier, choose

__all__ = ["run", "set_up"]

SMOKE = "smoke"
EXPECTED = "expected.toml"
BOTH = ("apiserver", "node")
"""What runs without LEVEL."""
WITH_IMAGES = ("node", "kind")
"""Levels whose pods run the project's images."""
NOT_HERE = 3
"""Exit status of `python -m cluster check` for a level that cannot run on this machine."""


def set_up(places: Places) -> None:
    """Have the programs and images of the chosen levels, as far as this machine can run them.

    Raises:
        TargetError: LEVEL is unknown, or something could not be built.
    """
    levels = chosen_levels()
    # A node needs root, and packages that only root installs; without it the tests are skipped and say so.
    ensure_programs(places, [level for level in levels if level != "node" or os.geteuid() == 0])
    if any(level in WITH_IMAGES and why_not(places, level) is None for level in levels):
        ensure_images(places)


def run(places: Places) -> int:
    """Run the chosen levels one after the other; 1 when a test failed, too few ran, or none."""
    levels = chosen_levels()
    select = os.environ.get("HELIOS_SELECT", "")
    results = [_run_level(places, level, select, alone=len(levels) == 1) for level in levels]
    print(f"\n{table(results)}\n", flush=True)
    for result in results:
        print(f"level {result.tier}: {result.passed + result.failed} run, {result.skipped} skipped")
    print(f"\n{closing_line(results)}", flush=True)
    if not any(result.passed or result.failed for result in results):
        say("helios: no test ran")
        return 1
    return 1 if any(result.failed for result in results) else 0


def chosen_levels() -> list[str]:
    """LEVEL, or the levels that run without it.

    Raises:
        TargetError: LEVEL is unknown.
    """
    level = os.environ.get("HELIOS_LEVEL")
    if level and level not in LEVELS:
        raise TargetError(f"LEVEL={level}: unknown; one of {', '.join(LEVELS)}")
    if level:
        return [level]
    return ["kubeconfig"] if os.environ.get(KUBECONFIG) else list(BOTH)


def why_not(places: Places, level: str) -> str | None:
    """Why a level cannot run on this machine; None when it can.

    Raises:
        TargetError: the question itself failed.
    """
    command, environment = cluster_command(places, "check", level), cluster_environment(places)
    answer = subprocess.run(command, cwd=places.root, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode not in (0, NOT_HERE):
        raise TargetError(f"python -m cluster check {level}: {answer.stderr.strip()}")
    return answer.stdout.strip() if answer.returncode == NOT_HERE else None


def _run_level(places: Places, level: str, select: str, *, alone: bool) -> Result:
    print(f"\n=== level {level}", flush=True)
    result = Result(level)
    started = time.monotonic()
    environment = {"HELIOS_LEVEL": level, **({} if alone else {"HELIOS_NEEDS": level})}
    run_pytest(places, _tier(places, level, select), result, environment)
    result.seconds = time.monotonic() - started
    if not alone:
        _compare(places, result, _expected(places, select).get(level, 0))
    return result


def _compare(places: Places, result: Result, expected: int) -> None:
    """Count it as a failure when fewer tests ran than expected although the level can run here."""
    ran = result.passed + result.failed
    if ran >= expected:
        return
    why = why_not(places, result.tier)
    if why is None:
        result.fail(f"{ran} tests ran, {expected} are expected ({EXPECTED})")
    else:
        say(f"helios: {why}")


def _tier(places: Places, level: str, select: str) -> Tier:
    """What pytest is told."""
    tier = Tier(f"{CLUSTERS}-{level}", [f"e2e/{CLUSTERS}"], again=True)
    if select == SMOKE:
        return replace(tier, marker=SMOKE)
    return replace(choose(places.root, [tier], select)[0], name=tier.name)


def _expected(places: Places, select: str) -> dict[str, int]:
    """Level → how many tests at least run on a machine that can run it; nothing for other selections."""
    if select not in ("", SMOKE):
        return {}
    with (places.root / "e2e" / CLUSTERS / EXPECTED).open("rb") as handle:
        numbers: dict[str, int] = tomllib.load(handle)[select or "all"]
    return numbers
