"""Debian packages that a target needs. As root they are installed; otherwise they are named in one line.

Called by `python_env` (python3-venv) and by the targets that drive programs of the distribution (`make bench`).
"""

import os
import shutil
import subprocess
from collections.abc import Sequence

from helios_make.errors import TargetError
from helios_make.places import Places
from helios_make.steps import Step, run_step

__all__ = ["install_packages"]

APT = ("apt-get", "-o", "DPkg::Lock::Timeout=120", "-y", "--no-install-recommends")


def install_packages(places: Places, packages: Sequence[str], *, why: str, seconds: int, megabytes: int) -> None:
    """Have the packages on the machine.

    Raises:
        TargetError: not root, or not a Debian machine; the message is the command that a person can run.
        StepFailed: apt-get failed.
    """
    missing = [package for package in packages if not _installed(package)]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise TargetError(f"{why}: install {' '.join(missing)} (Debian: sudo apt-get install {' '.join(missing)})")
    # A package brings its service along; the targets start their own processes on their own ports.
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    with places.lock("apt"):
        run_step(places, Step("Package lists", [*APT, "update"], seconds=10, megabytes=40, environment=quiet))
        command = [*APT, "install", *missing]
        run_step(places, Step(f"Packages {' '.join(missing)}", command, seconds, megabytes, environment=quiet))


def _installed(package: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"
