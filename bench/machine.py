"""What the figures were measured with: date, machine, versions, build of the engine. Called by `run`."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from helios.play.process import Spawn, run
from rig import BenchError, Rig, find_pgbouncer

__all__ = ["facts"]

_ASK_ENGINE = """
import json, helios, helios_core
print(json.dumps([helios.__version__, helios_core.__file__, helios_core.__version__]))
"""


def facts(rig: Rig) -> dict[str, str]:
    """By name, for people; nothing in it tells where on this machine things lie."""
    pgbouncer = run([find_pgbouncer(), "--version"], Spawn()).stdout.splitlines()[0]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} CPUs ({_cpu_model()}), Linux {platform.release()}",
        "load average at the start": " ".join(f"{value:.1f}" for value in os.getloadavg()),
        "Helios": _helios(),
        "PgBouncer": pgbouncer.removeprefix("PgBouncer "),
        "PostgreSQL and pgbench": f"{rig.binaries.version}, fsync off, max_connections 200, pgbench scale 1",
        "Python": platform.python_version(),
        "workers of Helios": str(rig.workers or "Helios decides (the CPUs, at most 8, at most a quarter of the pool)"),
        "commit": _commit(),
    }


def _helios() -> str:
    python = os.environ.get("HELIOS_PYTHON", sys.executable)
    answer = run([python, "-c", _ASK_ENGINE], Spawn())
    if answer.returncode != 0:
        raise BenchError(f"HELIOS_PYTHON has no Helios: {answer.stdout.strip()[-300:]}")
    version, engine, engine_version = json.loads(answer.stdout)
    # The release profile strips symbols, the profile for developing keeps them (and its run-time checks).
    release = b".symtab" not in Path(engine).read_bytes()
    return f"{version}, engine {engine_version}, {'release' if release else '**development**'} build"


def _cpu_model() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _commit() -> str:
    """Of the working tree this file is in; empty-handed outside of one."""
    here = Path(__file__).parent
    commit = run(["git", "-C", here, "rev-parse", "--short", "HEAD"], Spawn())
    if commit.returncode != 0:
        return "unknown"
    changes = run(["git", "-C", here, "status", "--porcelain", "--untracked-files=no"], Spawn())
    return commit.stdout.strip() + (" with uncommitted changes" if changes.stdout.strip() else "")
