"""`python -m cluster up LEVEL NAME | down NAME | check LEVEL`: run by `make cluster`, `cluster-down` and `e2e`.

`up` prints to stdout what a shell takes (`export KUBECONFIG=…`) and leaves the cluster running. `down` removes it and
whatever killed runs left. `check` prints why the level cannot run here and ends with status 3 then.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cluster import state
from cluster.errors import ClusterError
from cluster.level import Level
from cluster.local import LocalCluster
from cluster.node_level import NodeCluster
from cluster.obstacles import look, obstacle
from cluster.opening import open_cluster

__all__ = ["main"]

CANNOT_RUN = 3


def main(arguments: Sequence[str]) -> int:
    """Do one of the three; the exit status."""
    try:
        match arguments:
            case ["up", level, name]:
                return up(Level(level), name)
            case ["down", name]:
                return down(name)
            case ["check", level]:
                return check(Level(level))
    except ClusterError as error:
        print(f"helios: {error}", file=sys.stderr)
        return 1
    print(__doc__, file=sys.stderr)
    return 2


def up(level: Level, name: str) -> int:
    """Start a cluster that stays, unless it is there already."""
    folder = state.clusters_folder() / name
    running = find(name)
    if level not in (Level.APISERVER, Level.NODE):
        raise ClusterError(f"level {level}: `make cluster` starts levels apiserver and node")
    if running is not None and running.level is not level:
        raise ClusterError(f"a cluster of level {running.level} is up: `make cluster-down` first")
    if running is None:
        started = time.monotonic()
        cluster = open_cluster(level, name, owned=False)
        print(f"helios: level {level} is up after {time.monotonic() - started:.1f} s", file=sys.stderr)
        kubeconfig = cluster.kubeconfig
    else:
        print(f"helios: level {level} is up already", file=sys.stderr)
        kubeconfig = attach(folder, running).kubeconfig
    print(f"helios: logs and audit.log are in {folder}; `make cluster-down` ends it", file=sys.stderr)
    print(f"export KUBECONFIG={kubeconfig}")
    return 0


def find(name: str) -> state.Record | None:
    """The record of a running cluster."""
    folder = state.clusters_folder() / name
    record = state.read_record(folder)
    return record if record is not None and attach(folder, record).control.alive() else None


def attach(folder: Path, record: state.Record) -> LocalCluster:
    """A cluster that another process started."""
    made = NodeCluster if record.level is Level.NODE else LocalCluster
    return made(folder, record.level, record.server, {"kubectl": Path("kubectl")})


def down(name: str) -> int:
    """End the cluster of this name, and remove what killed runs left."""
    folder = state.clusters_folder() / name
    record = state.read_record(folder)
    if record is not None:
        attach(folder, record).close()
        print(f"helios: {record.level} cluster {name} is gone", file=sys.stderr)
    with state.exclusive():
        swept = state.sweep()
    for each in swept:
        print(f"helios: removed what was left of {each}", file=sys.stderr)
    if record is None and not swept:
        print("helios: no cluster is up", file=sys.stderr)
    return 0


def check(level: Level) -> int:
    """Say why a level cannot run."""
    why = obstacle(level, look())
    if why is None:
        return 0
    print(why)
    return CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
