"""`make test-terraform` and `make test-pulumi`: the providers under the real command lines, on a real API server.

SELECT is `smoke` (what continuous integration runs: nothing is built for it but the API server), paths, or part of a
name. terraform is the machine's; OpenTofu and Pulumi are built by Go from the pinned modules in e2e/iac/tools and kept
by their digest. The tests look the programs up here, and say why they were skipped where one is missing.
"""

import os
import platform
import shutil
import time
from dataclasses import replace
from pathlib import Path

from helios_make import doctor
from helios_make.kubernetes import Module, build_module, drop_go_caches, ensure_programs
from helios_make.places import Places
from helios_make.results import Result, closing_line, table
from helios_make.stamps import digest
from helios_make.steps import say
from helios_make.tests import run_pytest
from helios_make.tiers import IAC, Tier, choose

__all__ = ["SMOKE", "find_cli", "run_pulumi", "run_terraform", "set_up_pulumi", "set_up_terraform"]

FOLDER = Path("e2e", IAC)
TOOLS = FOLDER / "tools"
SMOKE = "smoke"
KEPT_FOLDERS = 2
"""Builds of a program that stay in the cache, for clones of other versions."""

MODULES = {
    "tofu": Module(
        "tofu",
        {"tofu": "github.com/opentofu/opentofu/cmd/tofu"},
        seconds=400,
        megabytes=115,
        parent=TOOLS,
        flags="-X github.com/opentofu/opentofu/version.dev=no",
    ),
    "pulumi": Module(
        "pulumi",
        {"pulumi": "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"},
        seconds=400,
        megabytes=115,
        parent=TOOLS,
        # The Automation API refuses a command line that does not know how old it is.
        flags="-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v3.259.0",
    ),
}
"""Program → what it is built from."""


def find_cli(places: Places, name: str) -> Path | None:
    """A command line: terraform as the machine has it, the others as they were built here; None when missing."""
    if name not in MODULES:
        found = shutil.which(name)
        return Path(found) if found else None
    built = _folder(places, name) / name
    return built if built.is_file() else None


def set_up_terraform(places: Places) -> None:
    """Have the API server's programs, and OpenTofu unless only the smoke set runs.

    Raises:
        TargetError: something could not be built.
    """
    _set_up(places, "tofu")
    if find_cli(places, "terraform") is None:
        say("helios: terraform is not found: its tests are skipped")


def set_up_pulumi(places: Places) -> None:
    """Have the API server's programs, and Pulumi's command line unless only the smoke set runs.

    Raises:
        TargetError: something could not be built.
    """
    _set_up(places, "pulumi")


def run_terraform(places: Places) -> int:
    """Run the tests of the Terraform provider and of the constructs; 1 when one failed or none ran."""
    return _run(places, "terraform")


def run_pulumi(places: Places) -> int:
    """Run the tests of the Pulumi provider; 1 when one failed or none ran."""
    return _run(places, "pulumi")


def _set_up(places: Places, name: str) -> None:
    ensure_programs(places, ["apiserver"])
    if _selected() != SMOKE:
        _ensure(places, name)


def _selected() -> str:
    return os.environ.get("HELIOS_SELECT", "")


def _ensure(places: Places, name: str) -> None:
    with places.lock(f"iac-{name}"):
        if find_cli(places, name) is not None:
            return
        doctor.require(places, ["go"])
        folder = _folder(places, name)
        folder.mkdir(parents=True, exist_ok=True)
        build_module(places, MODULES[name], [name], folder)
        drop_go_caches(places)
        old = sorted(folder.parent.glob(f"{name}-*"), key=lambda each: each.stat().st_mtime, reverse=True)
        for each in old[KEPT_FOLDERS:]:
            shutil.rmtree(each)


def _folder(places: Places, name: str) -> Path:
    """Where the program of exactly this module is, or will be."""
    files = [each for each in (places.root / TOOLS / name).rglob("*") if each.is_file()]
    facts = (MODULES[name].flags, platform.system(), platform.machine())
    return places.cache / "iac" / f"{name}-{digest(places.root, files, *facts)}"


def _run(places: Places, name: str) -> int:
    select = _selected()
    paths = [path for path in (f"{name}/tests", str(FOLDER / name)) if (places.root / path).is_dir()]
    [tier] = [Tier(name, paths)] if select == SMOKE else choose(places.root, [Tier(name, paths)], select)
    # The smoke set is for every change: with one command line, also where the other was built.
    tier = replace(tier, name=name)
    if select == SMOKE:
        tier = replace(tier, marker=SMOKE, expression="not tofu")
    result = Result(name)
    started = time.monotonic()
    run_pytest(places, tier, result)
    result.seconds = time.monotonic() - started
    print(f"\n{table([result])}\n\n{closing_line([result])}", flush=True)
    return 1 if result.failed or not result.passed else 0
