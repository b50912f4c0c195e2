"""Where the programs of a level are. Called by the levels; `make cluster` and `make e2e` build them."""

from __future__ import annotations

from pathlib import Path

from cluster.errors import CannotRun
from cluster.level import Level
from helios_make.kubernetes import find_program, programs_of
from helios_make.places import find_places

__all__ = ["cache_folder", "find_programs"]


def cache_folder() -> Path:
    """The project's cache."""
    return find_places().cache


def find_programs(level: Level) -> dict[str, Path]:
    """Program → path, for every program of the level.

    Raises:
        CannotRun: some are not there.
    """
    places = find_places()
    found = {name: find_program(places, level, name) for name in programs_of(level)}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise CannotRun(f"level {level}: {', '.join(missing)} not built; `make e2e LEVEL={level}` builds what it needs")
    return {name: path for name, path in found.items() if path is not None}
