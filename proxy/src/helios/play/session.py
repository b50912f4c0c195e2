"""One run of `helios play`, from the files given to the end of every process. Called by helios.commands.play.

`play` reads from top to bottom as the life of a run.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from helios.config import ProxyConfig
from helios.config.base import join_address, split_address
from helios.play import sql
from helios.play.access import Access, PlayedNode, access_of, make_dsn
from helios.play.announce import Summary, say
from helios.play.binaries import find_binaries
from helios.play.command import check_command, run_command
from helios.play.data_folder import DataFolder, default_folder
from helios.play.demo import run_demo
from helios.play.embedded import EmbeddedCluster, cluster_folder
from helios.play.errors import PlayError
from helios.play.manifest import Manifest, read_manifest
from helios.play.process import adopt_orphans, end_all_children, next_free_port
from helios.play.proxy import ProxyProcess
from helios.play.signals import Signals, Stopped
from helios.play.supply import APP, Plan, complete_monitor, plan, populate, write_files
from helios_crds.problems import Problem

__all__ = ["PlayOptions", "play"]

WATCH_SECONDS = 0.5


@dataclass(frozen=True)
class PlayOptions:
    """The command line of `helios play`."""

    files: Sequence[Path]
    data: Path | None = None
    fresh: bool = False
    demo: bool = False
    command: Sequence[str] = ()


def play(options: PlayOptions) -> int:
    """Start everything, run the command or wait for Ctrl-C, end everything; the exit status.

    Raises HeliosError when something cannot be started; nothing is left running then either.
    """
    manifest = read_manifest(options.files)
    with Signals() as signals, ExitStack() as ending:
        session: _Session | None = None
        try:
            adopt_orphans()
            session = _Session(options, manifest, ending)
            session.start()
            if options.command:
                return run_command(options.command, session.environment(), signals)
            if options.demo:
                sys.stderr.write(run_demo(session.target(), session.pooling()) + "\n")
                if sys.stdin is None or not sys.stdin.isatty():
                    return 0
            session.stay()
        except Stopped as stopped:
            asked_to_leave = session is not None and session.is_ready and not options.command
            return 0 if asked_to_leave else 128 + stopped.number
        finally:
            signals.ending()


class _Session:
    """What runs. Every start leaves its end on `ending`."""

    def __init__(self, options: PlayOptions, manifest: Manifest, ending: ExitStack) -> None:
        self.is_ready = False
        self._began = time.monotonic()
        self._options = options
        self._manifest = manifest
        self._ending = ending
        self._clusters: dict[str, EmbeddedCluster] = {}

    def start(self) -> None:
        """From the data folder to a proxy that is ready. Raises HeliosError."""
        self._folder = self._open_folder()
        self._ending.callback(end_all_children)  # before the lock is given back
        ports = self._choose_ports()
        decided = plan(self._manifest, self._folder, ports)
        check_command(self._options.command, self._search_path(bool(decided.embedded)))
        write_files(self._manifest, self._folder)
        self._start_clusters(decided)
        self._config = self._make_config(decided)
        populate(self._config, self._clusters)
        self._access = access_of(self._config, APP if self._clusters else "postgres")
        self._proxy = ProxyProcess.start(self._config, self._folder.config_file, self._folder.log_file)
        self._ending.callback(self._proxy.stop)
        self._proxy.wait_ready(healthy_nodes=sum(len(cluster.servers) for cluster in self._clusters.values()))
        self.is_ready = True
        self._summary().show()

    def target(self) -> sql.Target:
        """A client's login at Helios."""
        host, port = self._proxy.address
        return sql.Target(host, port, self._access.user, self._access.password or "", self._access.database)

    def pooling(self) -> str:
        """The pooling of the client's database in a few words."""
        entry = next((e for e in self._config.resolved_databases() if e.name == self._access.database), None)
        pool = entry.pool.over(self._config.pool) if entry is not None else self._config.pool
        return f"{pool.mode} pooling, at most {pool.max_size} server connections"

    def environment(self) -> dict[str, str]:
        """What a command finds in its environment; programs that play brought along come last in PATH."""
        host, port = self._proxy.address
        return {
            "PGHOST": host,
            "PGPORT": str(port),
            "PGUSER": self._access.user,
            "PGPASSWORD": self._access.password or "",
            "PGDATABASE": self._access.database,
            "HELIOS_ADMIN_URL": self._proxy.admin_url,
            "HELIOS_DIRECT_DSN": self._direct_dsn(),
            "HELIOS_NODES": json.dumps([asdict(node) for node in self._nodes()]),
            "PATH": self._search_path(bool(self._clusters)),
        }

    def stay(self) -> NoReturn:
        """Wait for a signal, which raises Stopped; tell of servers that end. Raises PlayError when Helios ends."""
        say("running; Ctrl-C ends everything and keeps the data (--fresh starts over)")
        running = [(f"{c.name}/{s.name}", s) for c in self._clusters.values() for s in c.servers]
        while True:
            if (status := self._proxy.exit_status) is not None:
                raise PlayError(f"helios serve has ended with status {status}; see {self._proxy.log_file}")
            for name, server in [pair for pair in running if pair[1].pid is None]:
                say(f"PostgreSQL {name} has ended; see {server.log}")
                running.remove((name, server))
            time.sleep(WATCH_SECONDS)

    def _open_folder(self) -> DataFolder:
        path = self._options.data or default_folder(self._manifest.proxy.name, os.environ)
        folder = DataFolder(path, fresh=self._options.fresh)
        self._ending.callback(folder.close)
        if self._manifest.ignored:
            say(f"ignored, since play runs only what Helios is: {', '.join(self._manifest.ignored)}")
        return folder

    def _choose_ports(self) -> tuple[int, int]:
        spec, defaults = self._manifest.proxy.spec, ProxyConfig()
        listen = _free(spec.listen_port or split_address(defaults.listen_address)[1], "PostgreSQL clients")
        admin = spec.admin_port or split_address(defaults.admin.address)[1]
        return listen, _free(admin + 1 if admin == listen else admin, "the admin API")

    def _start_clusters(self, decided: Plan) -> None:
        for index, name in enumerate(decided.embedded):
            folder = cluster_folder(self._folder.clusters, name, index)
            standbys = "two streaming standbys" if decided.fails_over else "a streaming standby"
            say(f"starting PostgreSQL for cluster {name}: a primary and {standbys} in {folder}")
            password = self._folder.password("superuser")
            cluster = EmbeddedCluster.start(folder, name, password, fails_over=decided.fails_over)
            self._clusters[name] = cluster
            for server in (cluster.primary, *cluster.standbys):  # ended in reverse: the standbys first
                self._ending.callback(_stop_quietly(server.stop))

    def _make_config(self, decided: Plan) -> ProxyConfig:
        discovered = {name: cluster.nodes() for name, cluster in self._clusters.items()}
        result = self._manifest.render(decided.placement, discovered)
        for problem in result.warnings:
            _warn(problem)
        if result.config is None:
            raise PlayError(f"{self._manifest.proxy} gives no configuration, though no problem was found")
        return complete_monitor(result.config, self._folder, decided.embedded)

    def _nodes(self) -> list[PlayedNode]:
        several = len(self._config.clusters) > 1
        nodes: list[PlayedNode] = []
        for cluster in self._config.clusters:
            prefix = f"{cluster.name}/" if several else ""
            if (embedded := self._clusters.get(cluster.name)) is not None:
                database = self._access.server_database if cluster.name == self._access.cluster else "postgres"
                nodes += [
                    PlayedNode(f"{prefix}{s.name}", s.dsn(database), str(s.data), s.pid) for s in embedded.servers
                ]
                continue
            for node in cluster.nodes:
                nodes.append(PlayedNode(f"{prefix}{node.name}", self._server_dsn((node.host, node.port)), None, None))
        return nodes

    def _direct_dsn(self) -> str:
        """The primary itself: as superuser where it is ours, else as Helios logs in."""
        if (embedded := self._clusters.get(self._access.cluster)) is not None:
            return embedded.primary.dsn(self._access.server_database)
        _, topology = self._proxy.get("/topology")
        for cluster in (topology or {}).get("clusters", ()):
            if cluster["name"] == self._access.cluster and cluster["primary"]:
                return self._server_dsn(self._address_of(cluster["primary"]))
        raise PlayError(f"cluster {self._access.cluster} has lost its primary; see {self._proxy.admin_url}/topology")

    def _address_of(self, primary: str) -> tuple[str, int]:
        """Of a primary as /topology names it: by its name, or by its address."""
        for cluster in self._config.clusters:
            for node in cluster.nodes:
                if primary in (node.name, join_address(node.host, node.port)):
                    return node.host, node.port
        raise PlayError(f"/topology names the primary {primary!r}, which is no node of the configuration")

    def _server_dsn(self, address: tuple[str, int]) -> str:
        access: Access = self._access
        return make_dsn(access.server_user, access.server_password, address, access.server_database)

    def _search_path(self, with_postgres: bool) -> str:
        """PATH with Python's folder and, where PostgreSQL is ours, that of its programs at the end."""
        folders = [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]
        return os.pathsep.join([*folders, str(find_binaries().folder)] if with_postgres else folders)

    def _summary(self) -> Summary:
        access, path = self._access, self._search_path(bool(self._clusters))
        return Summary(
            resource=str(self._manifest.proxy),
            seconds=time.monotonic() - self._began,
            dsn=make_dsn(access.user, access.password, self._proxy.address, access.database),
            admin_url=self._proxy.admin_url,
            nodes=tuple(_described(cluster) for cluster in self._clusters.values()),
            data=self._folder.path,
            log=self._folder.log_file,
            psql="psql" if shutil.which("psql") else shutil.which("psql", path=path) or "psql",
        )


def _described(cluster: EmbeddedCluster) -> str:
    version = cluster.primary.binaries.version
    standbys = "".join(f", {each.name} 127.0.0.1:{each.port} (standby)" for each in cluster.standbys)
    return f"PostgreSQL {version}: {cluster.primary.name} 127.0.0.1:{cluster.primary.port} (primary){standbys}"


def _free(wanted: int, purpose: str) -> int:
    port = next_free_port(wanted)
    if port != wanted:
        say(f"port {wanted} is taken: {purpose} get {port}")
    return port


def _warn(problem: Problem) -> None:
    say(f"warning: {problem}")


def _stop_quietly(stop: Callable[[], None]) -> Callable[[], None]:
    """A server that had to be killed is told of; it must not keep the others from being ended."""

    def end() -> None:
        try:
            stop()
        except PlayError as error:
            say(str(error))

    return end
