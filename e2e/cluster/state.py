"""The folders of clusters: one each below the cache, with everything the cluster writes. Called by the levels.

A folder holds `cluster.json` (what has to be removed besides the folder), the supervisor's socket and the logs. One
whose supervisor no longer answers belongs to a run that was killed; it is removed when the next cluster is opened.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.cgroups import remove_cgroups
from cluster.control import Control
from cluster.level import Level
from cluster.programs import cache_folder

__all__ = ["Record", "clusters_folder", "exclusive", "new_name", "read_record", "remove", "sweep", "write_record"]

RECORD = "cluster.json"


@dataclass(frozen=True)
class Record:
    """What another process has to know to use or to remove a cluster."""

    name: str
    level: Level
    server: str = ""
    cgroups: tuple[str, ...] = ()
    """Cgroups that were made for it."""
    process: int = 0
    """The process that has the daemons below it, as the machine sees it."""


def clusters_folder() -> Path:
    """The parent of all clusters' folders."""
    folder = cache_folder() / "clusters"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def new_name() -> str:
    """A name that no other cluster has."""
    return f"helios-{os.getpid()}-{os.urandom(2).hex()}"


@contextmanager
def exclusive() -> Iterator[None]:
    """While a cluster's folder is made or swept, nobody else does so."""
    with (clusters_folder() / ".lock").open("w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_record(folder: Path, record: Record) -> None:
    """Note what has to be removed; before it is made."""
    (folder / RECORD).write_text(json.dumps(asdict(record)), encoding="utf-8")


def read_record(folder: Path) -> Record | None:
    """The record of a folder; None when its cluster never came so far."""
    file = folder / RECORD
    if not file.is_file():
        return None
    fields = json.loads(file.read_text(encoding="utf-8"))
    return Record(**{**fields, "level": Level(fields["level"]), "cgroups": tuple(fields["cgroups"])})


def sweep() -> list[str]:
    """Remove what killed runs left; the names. Called with the lock held."""
    dead = [folder for folder in clusters_folder().iterdir() if folder.is_dir() and not Control(folder).alive()]
    for folder in dead:
        remove(folder)
    return [folder.name for folder in dead]


def remove(folder: Path) -> None:
    """Remove the cgroups and the folder of a cluster whose processes are gone. Called with the lock held.

    Raises:
        ClusterError: something is still in use.
    """
    record = read_record(folder)
    if record is not None:
        remove_cgroups([Path(path) for path in record.cgroups])
    if folder.is_dir():
        shutil.rmtree(folder)
