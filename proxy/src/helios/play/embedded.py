"""The PostgreSQL that play supplies for a cluster whose resource names no nodes: a primary, and one standby or two.

Called by helios.play.session. Which of them is primary is decided by what their data folders say, since a run may
have promoted another one; what no longer fits is made anew.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from helios.config import NodeConfig, NodeRole
from helios.play import sql
from helios.play.binaries import Binaries, find_binaries
from helios.play.errors import PostgresError
from helios.play.folders import open_folder, remove_tree
from helios.play.postgres import PostgresServer, ServerOptions, start_primary, start_standby

__all__ = ["SUPERUSER", "EmbeddedCluster"]

SUPERUSER: Final = "helios_play"
"""Not `postgres`: that name may stand in the users file with a password of its own."""
NAMES: Final = ("node-1", "node-2", "node-3")
STREAM_SECONDS: Final = 10
HBA: Final = ("host all all 127.0.0.1/32 md5",)
"""SCRAM for roles that have a SCRAM secret, md5 for those whose users file gives only an md5 one."""


@dataclass(frozen=True)
class EmbeddedCluster:
    """Running servers. `name` is the cluster's name in the configuration."""

    name: str
    primary: PostgresServer
    standbys: tuple[PostgresServer, ...]

    @classmethod
    def start(cls, folder: Path, name: str, password: str, *, fails_over: bool) -> EmbeddedCluster:
        """Start all below `folder`, or make them. Raises PostgresError, and then nothing runs.

        `password` is the superuser's and must be that of the folder's first run. `fails_over`: there are two standbys,
        and commits wait for the first one, so that whoever dies leaves one that has everything, and one that follows.
        """
        open_folder(folder)
        options = ServerOptions(superuser=SUPERUSER, password=password, hba=HBA)
        leader = _leader(folder)
        names = NAMES if fails_over else NAMES[:2]
        running = [start_primary(folder, leader, options, _binaries_for(folder / leader))]
        try:
            running += [_follow(running[0], other, options) for other in names if other != leader]
            _wait_for(running[0], running[1].name if fails_over else "")
        except BaseException:
            for server in reversed(running):
                server.stop("immediate")
            raise
        return cls(name, running[0], tuple(running[1:]))

    @property
    def servers(self) -> tuple[PostgresServer, ...]:
        """By name, whichever leads."""
        return tuple(sorted((self.primary, *self.standbys), key=lambda server: server.name))

    def nodes(self) -> tuple[NodeConfig, ...]:
        """All as nodes of the configuration."""
        return tuple(
            NodeConfig(
                host=server.host,
                port=server.port,
                name=server.name,
                role=NodeRole.PRIMARY if server is self.primary else NodeRole.STANDBY,
            )
            for server in self.servers
        )


def cluster_folder(parent: Path, name: str, index: int) -> Path:
    """Where the cluster keeps its data; a name that makes no folder name is replaced by its place in the list."""
    return parent / (name if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}", name) else f"cluster.{index}")


def _leader(folder: Path) -> str:
    """The server to start as primary: of those that are no standby the one on the newest timeline."""
    made = [name for name in NAMES if (folder / name / "PG_VERSION").is_file()]
    leaders = [name for name in made if not (folder / name / "standby.signal").exists()]
    if made and not leaders:
        raise PostgresError(f"all servers in {folder} are standbys without a primary; start over with --fresh")
    return max(leaders, key=lambda name: _timeline(folder / name), default=NAMES[0])


def _timeline(data: Path) -> int:
    """The newest timeline the server was on: each promotion leaves a history file named after it."""
    return max((int(file.stem, 16) for file in (data / "pg_wal").glob("????????.history")), default=1)


def _binaries_for(data: Path) -> Binaries:
    """PostgreSQL of the major version that made the data folder, the preferred one for a new folder."""
    try:
        made_by = int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return find_binaries()
    try:
        return find_binaries(made_by)
    except PostgresError as error:
        reason = f"the data in {data} was made by PostgreSQL {made_by}"
        raise PostgresError(f"{reason}: {error}; or start over with --fresh") from error


def _follow(primary: PostgresServer, name: str, options: ServerOptions) -> PostgresServer:
    """Start another server as a standby; make it anew when it is none or cannot follow any more."""
    data = primary.data.parent / name
    kept = (data / "standby.signal").exists()
    if not kept:
        remove_tree(data)
    standby = start_standby(primary, name, options)
    if _streams(primary, standby):
        return standby
    standby.stop("immediate")
    if not kept:
        raise _not_streaming(primary, standby)
    remove_tree(data)
    standby = start_standby(primary, name, options)
    if not _streams(primary, standby):
        raise _not_streaming(primary, standby)
    return standby


def _wait_for(primary: PostgresServer, standby: str) -> None:
    """Have commits wait for this standby, or for none, whatever a failover of an earlier run has left."""
    names = f'FIRST 1 ("{standby}")' if standby else ""
    try:
        sql.execute(primary.target(), f"alter system set synchronous_standby_names = '{names}'")
        sql.execute(primary.target(), "select pg_reload_conf()")
    except sql.SQL_ERRORS as error:
        raise PostgresError(f"cannot configure `{primary.name}`: {error}") from error


def _not_streaming(primary: PostgresServer, standby: PostgresServer) -> PostgresError:
    what = f"the new standby {standby.name} does not stream from {primary.name}"
    return PostgresError(f"{what} after {STREAM_SECONDS} s; see {standby.log}")


def _streams(primary: PostgresServer, standby: PostgresServer) -> bool:
    query = "select 1 from pg_stat_replication where application_name = $1 and state = 'streaming'"
    deadline = time.monotonic() + STREAM_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(*sql.SQL_ERRORS):
            if sql.fetch(primary.target(), query, standby.name):
                return True
        time.sleep(0.05)
    return False
