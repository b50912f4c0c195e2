"""Where everything is kept: the clone, the cache, and what belongs to this clone inside the cache.

Every module takes a `Places`. Nothing is written into the clone itself. Two clones may use one cache at once: what they
share (downloads, wheels of the extension, Rust's build) is keyed by content or locked; the rest is per clone.
"""

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from helios_make.errors import TargetError

__all__ = ["Places", "find_places"]

CLONE_MARK = "clone-path"
"""File in a clone's part of the cache that holds the clone's folder, so that parts of deleted clones are found."""

MAKE_VARIABLES = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MAKEFILES")
"""Left out of every child's environment: a `make` inside a command must not inherit ours."""

OWN_VARIABLES = (
    "HELIOS_CMD",
    "HELIOS_FILE",
    "HELIOS_SELECT",
    "HELIOS_SECONDS",
    "HELIOS_LEVEL",
    "HELIOS_MINUTES",
    "HELIOS_KEEP",
)
"""How the Makefile hands its variables over; children do not see them."""


@dataclass(frozen=True)
class Places:
    """Folders of one clone and its cache."""

    root: Path
    """The clone."""

    cache: Path
    """Shared by all clones of this user; readable by other users when made by root."""

    @cached_property
    def own(self) -> Path:
        """This clone's part of the cache."""
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:8]
        return self.cache / "clones" / f"{self.root.name}-{digest}"

    @property
    def venv(self) -> Path:
        """The clone's virtual environment: locked requirements, this project (editable), the extension."""
        return self.own / "venv"

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.venv / "bin" / "python"

    @property
    def logs(self) -> Path:
        """One log per step, and the test tiers' reports."""
        return self.own / "logs"

    def environment(self) -> dict[str, str]:
        """The environment of every child: the tools' caches are ours, the venv is first on PATH."""
        env = {key: value for key, value in os.environ.items() if key not in MAKE_VARIABLES + OWN_VARIABLES}
        env.pop("PYTHONHOME", None)
        env.pop("PYTHONPATH", None)
        env.update(
            HELIOS_CACHE=str(self.cache),
            VIRTUAL_ENV=str(self.venv),
            PATH=f"{self.venv / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            PYTHONPYCACHEPREFIX=str(self.own / "pycache"),
            UV_CACHE_DIR=str(self.cache / "uv"),
            UV_PYTHON_DOWNLOADS="never",
            RUFF_CACHE_DIR=str(self.own / "ruff"),
            MYPY_CACHE_DIR=str(self.own / "mypy"),
        )
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        return env

    def prepare(self) -> None:
        """Make the folders; remove the parts of clones that are gone.

        Raises:
            TargetError: the cache cannot be written.
        """
        os.umask(0o022)
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            (self.own / CLONE_MARK).write_text(f"{self.root}\n", encoding="utf-8")
        except OSError as error:
            raise TargetError(
                f"cache {self.cache}: cannot be written ({error.strerror}); "
                "make it writable, or set HELIOS_CACHE to a folder of yours"
            ) from error
        for mark in self.own.parent.glob(f"*/{CLONE_MARK}"):
            if mark.parent != self.own and not Path(mark.read_text(encoding="utf-8").strip()).is_dir():
                shutil.rmtree(mark.parent, ignore_errors=True)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold one of the cache's locks; another clone that sets up the same thing waits, and says so."""
        folder = self.cache / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("w", encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"helios: waiting for another make to end ({handle.name})", file=sys.stderr, flush=True)
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def find_places() -> Places:
    """The clone this file belongs to, and the user's cache: $HELIOS_CACHE, or a fixed folder."""
    root = Path(__file__).resolve().parents[2]
    chosen = os.environ.get("HELIOS_CACHE")
    if chosen:
        cache = Path(chosen).expanduser().absolute()
    elif os.geteuid() == 0:
        # Not below /root: an unprivileged user has to run PostgreSQL from here.
        cache = Path("/var/cache/helios")
    else:
        cache = Path.home() / ".cache" / "helios"
    return Places(root=root, cache=cache)
