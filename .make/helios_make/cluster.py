"""`make cluster [LEVEL=apiserver|node]` and `make cluster-down`: a cluster for this clone, until it is ended.

The work is done by `python -m cluster` in e2e/; its stdout is a line for a shell: `eval "$(make -s cluster)"`.
"""

import os
import subprocess
from collections.abc import Sequence

from helios_make.errors import TargetError
from helios_make.kubernetes import LEVELS, ensure_programs
from helios_make.places import Places

__all__ = ["cluster_command", "cluster_environment", "cluster_name", "down", "set_up", "up"]

CAN_STAY = ("apiserver", "node")


def chosen_level() -> str:
    """LEVEL; apiserver when it is not given.

    Raises:
        TargetError: no such level, or one that is not for keeping.
    """
    level = os.environ.get("HELIOS_LEVEL") or "apiserver"
    if level not in CAN_STAY:
        raise TargetError(f"LEVEL={level}: one of {', '.join(CAN_STAY)}; `make e2e` also takes {', '.join(LEVELS[2:])}")
    return level


def set_up(places: Places) -> None:
    """Have the programs of the level."""
    ensure_programs(places, [chosen_level()])


def up(places: Places) -> int:
    """Start the clone's cluster, or say that it is up already."""
    return _run(places, "up", chosen_level(), cluster_name(places))


def down(places: Places) -> int:
    """End the clone's cluster, and remove what killed runs left."""
    return _run(places, "down", cluster_name(places))


def cluster_command(places: Places, *arguments: str) -> list[str]:
    """A call of `python -m cluster`."""
    return [str(places.python), "-m", "cluster", *arguments]


def cluster_environment(places: Places) -> dict[str, str]:
    """The clone's environment, with the packages that only tests and this use."""
    folders: Sequence[str] = [str(places.root / "e2e"), str(places.root / ".make")]
    return {**places.environment(), "PYTHONPATH": os.pathsep.join(folders)}


def cluster_name(places: Places) -> str:
    """What the clone's cluster is called."""
    # The clone's digest alone: the name is part of cgroups' and sockets' paths.
    return f"make-{places.own.name.rpartition('-')[2]}"


def _run(places: Places, *arguments: str) -> int:
    command, environment = cluster_command(places, *arguments), cluster_environment(places)
    return subprocess.run(command, cwd=places.root, env=environment, check=False).returncode
