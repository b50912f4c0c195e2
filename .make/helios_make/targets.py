"""The targets of the Makefile by name. `main` runs one: its part of the doctor, the set-up it needs, its work."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from helios_make import (
    bench,
    canary,
    checks,
    clean,
    cluster,
    doctor,
    drivers,
    e2e,
    failover,
    fuzz,
    iac,
    images,
    monitoring,
    mutations,
    play,
    provider,
    replay,
    sdks,
    tests,
)
from helios_make.errors import TargetError
from helios_make.extension import ensure_extension
from helios_make.places import Places, find_places
from helios_make.python_env import ensure_python
from helios_make.steps import say

__all__ = ["main"]

MACHINE = ("python", "cache", "disk")
"""What everything needs."""
BUILD = (*MACHINE, "cargo", "cc")
"""What building the engine needs."""
SERVE = (*BUILD, "memory", "user")
"""What running it against a PostgreSQL of our own needs."""


@dataclass(frozen=True)
class Target:
    """One word after `make`."""

    run: Callable[[Places], int]
    """Its work; the exit status."""
    checks: Sequence[str] = ()
    """Its part of the doctor."""
    set_up: Sequence[Callable[[Places], None]] = ()


TARGETS = {
    "run": Target(play.run, SERVE, (play.require_file, ensure_python, ensure_extension)),
    "test": Target(tests.run, SERVE, (ensure_python, ensure_extension, tests.ensure_servers)),
    "drivers": Target(
        drivers.run, SERVE, (ensure_python, ensure_extension, tests.ensure_servers, drivers.ensure_drivers)
    ),
    "e2e": Target(e2e.run, SERVE, (ensure_python, ensure_extension, e2e.set_up)),
    "test-terraform": Target(iac.run_terraform, BUILD, (ensure_python, ensure_extension, iac.set_up_terraform)),
    "test-pulumi": Target(iac.run_pulumi, BUILD, (ensure_python, ensure_extension, iac.set_up_pulumi)),
    "cluster": Target(cluster.up, MACHINE, (ensure_python, cluster.set_up)),
    "cluster-down": Target(cluster.down, MACHINE, (ensure_python,)),
    "images": Target(images.run, BUILD, (ensure_python, ensure_extension)),
    "lint": Target(checks.lint, (*BUILD, "rustfmt", "clippy"), (ensure_python, ensure_extension)),
    "generate": Target(checks.generate, MACHINE, (ensure_python,)),
    "provider": Target(provider.run, MACHINE, (ensure_python,)),
    "sdks": Target(sdks.run, MACHINE, (ensure_python,)),
    "generate-check": Target(checks.generate_check, MACHINE, (ensure_python,)),
    "bench": Target(bench.run, SERVE, (ensure_python, ensure_extension)),
    "canary": Target(canary.run, SERVE, (canary.set_up, ensure_python, ensure_extension)),
    "failover": Target(failover.run, SERVE, (failover.set_up, ensure_python, ensure_extension)),
    "replay": Target(replay.run, SERVE, (replay.set_up, ensure_python, ensure_extension)),
    "monitoring": Target(
        monitoring.run,
        SERVE,
        (monitoring.ensure_prometheus, ensure_python, ensure_extension, tests.ensure_servers),
    ),
    "mutations": Target(mutations.run, SERVE, (ensure_python, ensure_extension, mutations.ensure_mutant)),
    "fuzz": Target(fuzz.run, (*BUILD, "c++"), (ensure_python,)),
    "doctor": Target(lambda places: min(doctor.examine(places), 1)),
    "clean": Target(clean.run),
    "lock": Target(checks.lock, MACHINE),
}


def main(arguments: Sequence[str]) -> int:
    """Run the target named by the only argument; its exit status."""
    if len(arguments) != 1 or arguments[0] not in TARGETS:
        say(f"usage: .make/run TARGET, one of {' '.join(TARGETS)}")
        return 2
    target = TARGETS[arguments[0]]
    places = find_places()
    try:
        doctor.require(places, target.checks)
        if target.set_up:
            places.prepare()
        for set_up in target.set_up:
            set_up(places)
        sys.stdout.flush()
        return target.run(places)
    except TargetError as error:
        say(f"helios: {error}")
        return 1
    except KeyboardInterrupt:
        say(f"helios: {arguments[0]} interrupted")
        return 128 + 2
    except BrokenPipeError:
        # The reader of our output left (`make test | head`): nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
