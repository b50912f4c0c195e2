"""The clone's virtual environment: uv, the locked requirements, this project in editable form.

Called by every target that runs Python code of the project. Stock Debian has no pip and forbids writing the system
Python, so pip comes from ensurepip into a small environment that holds nothing but uv; uv then fills the clone's
environment from requirements/dev.txt, hashes required. Files are hard links into uv's cache, so that a second clone
costs a second and no space.
"""

import json
import shutil
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

from helios_make.places import Places
from helios_make.stamps import digest, is_current, write_stamp
from helios_make.steps import Step, run_step
from helios_make.system_packages import install_packages

__all__ = ["EXTENSION_STAMP", "ensure_python", "ensure_uv", "uv_path"]

UV_LOCK = Path("requirements", "uv.txt")

EXTENSION_STAMP = ".helios-extension"
"""File in the environment that holds the digest of the installed extension's sources."""


def ensure_python(places: Places) -> None:
    """Have the environment complete and equal to the lock.

    Raises:
        TargetError: something is missing on the machine, or a step failed.
    """
    locked = places.root / "requirements" / "dev.txt"
    key = digest(places.root, [locked], sys.version, sys.executable, str(places.root), _packaging(places.root))
    stamp = places.venv / ".helios-requirements"
    with places.lock(f"venv-{places.own.name}"):
        if is_current(stamp, key):
            return
        uv = str(ensure_uv(places))
        # The sync below removes what is not in the lock: this project and the extension.
        for outdated in (stamp, places.venv / EXTENSION_STAMP):
            outdated.unlink(missing_ok=True)
        if not _fits(places.venv):
            shutil.rmtree(places.venv, ignore_errors=True)
            command = [uv, "venv", "--quiet", "--python", sys.executable, str(places.venv)]
            run_step(places, Step("Virtual environment", command, seconds=1))
        command = [uv, "pip", "sync", "--python", str(places.python), "--require-hashes", str(locked)]
        run_step(places, Step("Python packages", command, seconds=10, megabytes=330))
        command = [uv, "pip", "install", "--python", str(places.python), "--no-deps", "--no-build-isolation"]
        run_step(places, Step("This project, editable", [*command, "--editable", str(places.root)], seconds=2))
        write_stamp(stamp, key)


def ensure_uv(places: Places) -> Path:
    """uv of the locked version, in an environment of its own that all clones share."""
    locked = places.root / UV_LOCK
    uv = uv_path(places)
    folder = uv.parents[1]
    stamp = folder / ".helios-complete"
    with places.lock(folder.name):
        if stamp.is_file():
            return uv
        if find_spec("ensurepip") is None:
            why = f"{sys.executable} cannot make virtual environments"
            install_packages(places, ["python3-venv"], why=why, seconds=10, megabytes=10)
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "venv", str(folder)]
        run_step(places, Step("Environment for uv", command, seconds=5, megabytes=15))
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-cache-dir", "--require-hashes"]
        run_step(places, Step("uv", [*command, "-r", str(locked)], seconds=5, megabytes=60))
        stamp.touch()
    return uv


def uv_path(places: Places) -> Path:
    """Where uv of the locked version is, or will be."""
    key = digest(places.root, [places.root / UV_LOCK], sys.version, sys.executable)
    return places.cache / "tools" / f"uv-{key}" / "bin" / "uv"


def _packaging(root: Path) -> str:
    """The parts of pyproject.toml that an editable install depends on."""
    with (root / "pyproject.toml").open("rb") as handle:
        tables = tomllib.load(handle)
    hatch = tables.get("tool", {}).get("hatch")
    return json.dumps([tables["build-system"], tables["project"], hatch], sort_keys=True)


def _fits(venv: Path) -> bool:
    """Whether an environment is there and was made from this interpreter."""
    config = venv / "pyvenv.cfg"
    if not config.is_file():
        return False
    lines = dict(line.split(" = ", 1) for line in config.read_text(encoding="utf-8").splitlines() if " = " in line)
    version = ".".join(map(str, sys.version_info[:3]))
    # The interpreter's own folder, not a symbolic link's: a virtual environment links to it.
    home = Path(lines.get("home", ""))
    ours = Path(sys.base_prefix, "bin")
    return lines.get("version_info", "").startswith(version) and home.resolve() == ours.resolve()
