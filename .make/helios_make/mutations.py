"""`make mutations`: does a test notice when the engine does wrong? One fault for each group of the protocol checklist.

The engine is built with the feature `mutations` beside the one of the clone, which stays as it is. Its tests must pass
while no fault is seeded, and one must fail with each fault of proxy/crates/helios-engine/src/fault.rs.
"""

import shutil
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from helios_make.extension import build_wheel
from helios_make.places import Places
from helios_make.results import Result
from helios_make.rust_workspace import open_workspace
from helios_make.steps import say
from helios_make.tests import run_pytest
from helios_make.tiers import Tier

__all__ = ["MUTATIONS", "ensure_mutant", "run"]

FEATURE = "mutations"
VARIABLE = "HELIOS_MUTATION"


@dataclass(frozen=True)
class Mutation:
    """A fault and the tests of which one must fail."""

    group: str
    fault: str
    """Its name in the engine."""
    tests: Sequence[str]


MUTATIONS = (
    Mutation(
        "Connection start",
        "PlainText",
        ["e2e/wire/test_tls.py::test_plain_text_before_the_handshake_is_refused"],
    ),
    Mutation(
        "Requests and replies",
        "FailedBatch",
        ["e2e/wire/test_pipeline.py::test_error_in_pipeline_of_errors_counts_every_sync"],
    ),
    Mutation(
        "Asynchronous traffic",
        "SecondError",
        ["e2e/wire/test_errors.py::test_server_killed_inside_a_transaction"],
    ),
    Mutation("Cancel", "AnyKey", ["e2e/wire/test_cancel.py::test_wrong_key_does_nothing"]),
    Mutation(
        "Leaving and breaking",
        "SkipReset",
        ["e2e/wire/test_terminate.py::test_session_leaves_nothing_to_the_next_client"],
    ),
)


def ensure_mutant(places: Places) -> None:
    """Have the engine that takes faults, as a folder for PYTHONPATH.

    Raises:
        TargetError: it does not build.
    """
    folder = _folder(places)
    shutil.rmtree(folder, ignore_errors=True)
    with open_workspace(places) as workspace:
        apart = replace(workspace, target=workspace.target.with_name(f"target-{FEATURE}"))
        wheel = build_wheel(places, apart, folder / "wheel", "quick", [FEATURE])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "lib")


def run(places: Places) -> int:
    """Run the tests without a fault and with each; 1 unless each fault is noticed."""
    tests = [test for mutation in MUTATIONS for test in mutation.tests]
    sound = _run(places, "", tests)
    rows = [("group", "fault", "tests red", "seconds"), ("", "none", f"{sound.failed}", f"{sound.seconds:.1f}")]
    unnoticed = []
    for mutation in MUTATIONS:
        result = _run(places, mutation.fault, mutation.tests)
        rows.append((mutation.group, mutation.fault, f"{result.failed}", f"{result.seconds:.1f}"))
        # A run without a red test, or one that came to nothing, shows nothing.
        if not result.failed or not result.failures[0].startswith("e2e/"):
            unnoticed.append(mutation.fault)
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if sound.failed or not sound.passed:
        say(f"helios: mutations: the tests do not pass without a fault: {', '.join(sound.failures)}")
        return 1
    if unnoticed:
        say(f"helios: mutations: no test noticed {', '.join(unnoticed)}")
        return 1
    return 0


def _run(places: Places, fault: str, tests: Sequence[str]) -> Result:
    """The tests with this fault. Why they fail is of interest only where they should not."""
    say(f"helios: mutations: {fault or 'no fault'}")
    result, started = Result(f"{FEATURE}-{fault or 'none'}"), time.monotonic()
    environment = {VARIABLE: fault, "PYTHONPATH": str(_folder(places) / "lib")}
    if fault:
        environment["PYTEST_ADDOPTS"] = "--tb=no"
    run_pytest(places, Tier(result.tier, tests), result, environment)
    result.seconds = time.monotonic() - started
    return result


def _folder(places: Places) -> Path:
    return places.own / FEATURE
