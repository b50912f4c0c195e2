"""The Rust engine as a wheel, built by maturin and installed into the clone's environment.

Called by the targets that start a proxy. Wheels are kept in the cache under a digest of the sources, so a clone with
the same sources installs in a second; other sources rebuild what differs.
PROFILE=quick builds for developing: about as fast to run, much faster to rebuild after a change.
"""

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from helios_make.errors import TargetError
from helios_make.places import Places
from helios_make.python_env import EXTENSION_STAMP, ensure_uv
from helios_make.rust_workspace import RustWorkspace, open_workspace, rust_sources
from helios_make.stamps import digest, is_current, write_stamp
from helios_make.steps import Step, run_step

__all__ = ["build_wheel", "ensure_extension", "installed_wheel"]

PROFILES = ("release", "quick")
NOT_IN_WHEEL = {"tests", "benches", "fuzz", "examples", "clippy.toml", "rustfmt.toml"}
"""Folders of a crate, and files of the workspace, that do not change a wheel."""
KEPT_WHEELS = 8
"""Wheels that stay in the cache, the latest used first."""


def ensure_extension(places: Places) -> None:
    """Have the extension of exactly these sources installed.

    Raises:
        TargetError: PROFILE is unknown, or a step failed.
    """
    profile = os.environ.get("PROFILE", "release")
    if profile not in PROFILES:
        raise TargetError(f"PROFILE={profile}: unknown; one of {', '.join(PROFILES)}")
    facts = (profile, platform.machine(), _rustc())
    stamp = places.venv / EXTENSION_STAMP
    with places.lock(f"venv-{places.own.name}"):
        if is_current(stamp, _key(places.root / "proxy", facts)):
            return
        stamp.unlink(missing_ok=True)
        with open_workspace(places) as workspace:
            # Of the copy: what is edited meanwhile is not in this wheel.
            key = _key(workspace.folder, facts)
            folder = places.cache / "wheels" / key
            wheel = _wheel(folder) or build_wheel(places, workspace, folder, profile)
            os.utime(folder)
            _forget_old(folder.parent)
            command = [str(ensure_uv(places)), "pip", "install", "--python", str(places.python), "--no-deps"]
            run_step(places, Step("Engine: install", [*command, "--reinstall", str(wheel)], seconds=1, megabytes=3))
        write_stamp(stamp, key)


def installed_wheel(places: Places) -> Path:
    """The wheel that `ensure_extension` installed, in the cache.

    Raises:
        TargetError: none is installed.
    """
    stamp = places.venv / EXTENSION_STAMP
    wheel = _wheel(places.cache / "wheels" / stamp.read_text(encoding="utf-8")) if stamp.is_file() else None
    if wheel is None:
        raise TargetError(f"{places.venv} holds no engine; `make test SELECT=units` sets it up")
    return wheel


def _key(workspace: Path, facts: Sequence[str]) -> str:
    """The digest of everything the wheel is made of."""
    files = [file for file in rust_sources(workspace) if not NOT_IN_WHEEL & set(file.relative_to(workspace).parts)]
    return digest(workspace, files, *facts)


def _rustc() -> str:
    try:
        return subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise TargetError("rustc does not run; install Rust 1.85 or newer (make doctor says more)") from error


def _wheel(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob("*.whl"))), None)


def build_wheel(
    places: Places, workspace: RustWorkspace, folder: Path, profile: str, features: Sequence[str] = ()
) -> Path:
    """Build the extension into a folder; the wheel.

    Raises:
        TargetError: the build failed or left no wheel.
    """
    command = [str(places.venv / "bin" / "maturin"), "build", "--locked", "--profile", profile]
    command += [f"--features={feature}" for feature in features]
    command += ["--compatibility", "linux", "--interpreter", str(places.python), "--out", str(folder)]
    crate = workspace.folder / "crates" / "helios-core"
    title, environment = f"Engine: {profile} build", workspace.environment()
    run_step(places, Step(title, command, seconds=60, megabytes=150, cwd=crate, environment=environment))
    wheel = _wheel(folder)
    if wheel is None:
        raise TargetError(f"maturin left no wheel in {folder}")
    return wheel


def _forget_old(wheels: Path) -> None:
    """Remove the wheels that were not used for longest; never one that is being installed, since we hold the lock."""
    folders = sorted(wheels.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in folders[KEPT_WHEELS:]:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
