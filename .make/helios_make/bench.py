"""`make bench`: PgBouncer and pgbench beside Helios on this machine, figures into bench/RESULTS.md by bench/run.py."""

import os
import shutil
import subprocess
from pathlib import Path

from helios_make.places import Places
from helios_make.system_packages import install_packages

__all__ = ["run"]


def run(places: Places) -> int:
    """Have PgBouncer, then run the benchmarks; their exit status.

    Raises:
        TargetError: PgBouncer is missing and cannot be installed by this user.
    """
    places.prepare()
    environment = places.environment()
    # Debian keeps servers in sbin, which is not on everybody's PATH.
    environment["PATH"] = os.pathsep.join([environment["PATH"], "/usr/sbin"])
    if shutil.which("pgbouncer", path=environment["PATH"]) is None:
        install_packages(places, ["pgbouncer"], why="`make bench` compares with PgBouncer", seconds=10, megabytes=10)
    command = [str(places.python), str(Path("bench") / "run.py")]
    return subprocess.run(command, cwd=places.root, env=environment, check=False).returncode
