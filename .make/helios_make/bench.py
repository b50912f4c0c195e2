"""`make bench`: PgBouncer and pgbench beside Helios on this machine, figures into bench/RESULTS.md by bench/run.py."""

import subprocess
from pathlib import Path

from helios_make.pgbouncer import have_pgbouncer
from helios_make.places import Places

__all__ = ["run"]


def run(places: Places) -> int:
    """Have PgBouncer, then run the benchmarks; their exit status.

    Raises:
        TargetError: what PgBouncer's build needs is missing and cannot be installed by this user.
        StepFailed: PgBouncer cannot be had.
    """
    places.prepare()
    environment = {**places.environment(), "HELIOS_PGBOUNCER": str(have_pgbouncer(places))}
    command = [str(places.python), str(Path("bench") / "run.py")]
    return subprocess.run(command, cwd=places.root, env=environment, check=False).returncode
