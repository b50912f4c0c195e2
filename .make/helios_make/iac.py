"""`make test-terraform` and `make test-pulumi`: the providers under the real command lines, on a real API server.

SELECT is `smoke` (what continuous integration runs: nothing is built for it but the API server), paths, or part of a
name. The programs are those of `iac_programs`; tests say why they were skipped where one is missing.
"""

import os
import time
from dataclasses import replace
from pathlib import Path

from helios_make import provider, sdks
from helios_make.iac_programs import ensure_cli, find_cli
from helios_make.kubernetes import ensure_programs
from helios_make.places import Places
from helios_make.results import Result, closing_line, table
from helios_make.steps import say
from helios_make.tests import run_pytest
from helios_make.tiers import IAC, Tier, choose

__all__ = ["SMOKE", "run_pulumi", "run_terraform", "set_up_pulumi", "set_up_terraform"]

FOLDER = Path("e2e", IAC)
SMOKE = "smoke"


def set_up_terraform(places: Places) -> None:
    """Have the API server's programs, and unless only the smoke set runs what else Terraform's tests need.

    Raises:
        TargetError: something could not be built.
    """
    _set_up(places, "tofu", "tfplugindocs")
    if _selected() != SMOKE:
        provider.ensure_provider(places)
    if find_cli(places, "terraform") is None:
        say("helios: terraform is not found: its tests are skipped")


def set_up_pulumi(places: Places) -> None:
    """Have the API server's programs, and unless only the smoke set runs what Pulumi's tests need.

    Raises:
        TargetError: something could not be built.
    """
    _set_up(places, "pulumi", "sdkgen")
    if _selected() != SMOKE:
        sdks.ensure_python_sdk(places)
        sdks.ensure_example(places)


def run_terraform(places: Places) -> int:
    """Run the tests of the Terraform provider and of the constructs; 1 when one failed or none ran."""
    return _run(places, "terraform")


def run_pulumi(places: Places) -> int:
    """Run the tests of the Pulumi provider; 1 when one failed or none ran."""
    return _run(places, "pulumi")


def _set_up(places: Places, *names: str) -> None:
    ensure_programs(places, ["apiserver"])
    for name in names if _selected() != SMOKE else ():
        ensure_cli(places, name)


def _selected() -> str:
    return os.environ.get("HELIOS_SELECT", "")


def _run(places: Places, name: str) -> int:
    select = _selected()
    paths = [path for path in (f"{name}/tests", str(FOLDER / name)) if (places.root / path).is_dir()]
    whole = Tier(name, paths, again=True)
    [tier] = [whole] if select == SMOKE else choose(places.root, [whole], select)
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
