"""A cluster of three servers that Patroni looks after, on an etcd of its own, as processes on loopback.

Called by e2e/failover; hands on `PatroniCluster`. Every process ends with this one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml

from harness.client import Client, Target
from harness.postgres import APP, DATABASE, HBA, MONITOR, PASSWORDS, PostgresCluster, populate, superuser_of
from harness.wait import until
from helios.play.postgres import PostgresServer, ServerOptions, find_binaries, open_folder
from helios.play.process import Spawn, free_port, spawn, unprivileged_identity

__all__ = ["NAMES", "PatroniCluster"]

NAMES: Final = ("db-1", "db-2", "db-3")
SCOPE: Final = "demo"
HOST: Final = "127.0.0.1"
SUPERUSER: Final = "postgres"
PASSWORD: Final = "superuser secret"
REPLICATION: Final = {"username": "replicator", "password": "replication secret"}
START_SECONDS: Final = 120.0
RULES: Final = {
    "ttl": 20,
    "loop_wait": 1,
    "retry_timeout": 3,
    "primary_start_timeout": 0,  # a server that dies is replaced, not started again
    "synchronous_mode": True,
    "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": {"max_connections": 60}},
}
"""The quickest that Patroni takes."""


class _Member:
    """One Patroni with its server."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.port, self.rest = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "patroni.log"

    @property
    def config(self) -> Path:
        return self.folder / "patroni.yml"

    @property
    def postmaster(self) -> int:
        """The server's process."""
        return int((self.data / "postmaster.pid").read_text().split()[0])


class PatroniCluster:
    """Started as its users do: the first member makes the database, the others copy it."""

    def __init__(self, etcd: Path) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="helios-patroni-"))
        self._identity = unprivileged_identity()
        open_folder(self.root, self._identity)
        self._binaries = find_binaries()
        self._etcd_port = free_port()
        self._etcd = self._start_etcd(etcd)
        self.members = {name: _Member(name, self.root / name) for name in NAMES}
        self._servers = {name: self._server(member) for name, member in self.members.items()}
        try:
            for name in NAMES:
                self.start(name)
            self.await_streaming(2)
            primary = self._servers[self.leader() or ""]
            populate(PostgresCluster(self.root, primary, None))
            self.ask(self.leader() or "", f"grant pg_monitor to {MONITOR}; select 1", "postgres")
        except BaseException:
            self.stop()
            raise

    @property
    def urls(self) -> list[str]:
        """REST APIs of the members."""
        return [f"http://{HOST}:{member.rest}" for member in self.members.values()]

    def nodes(self) -> list[dict[str, object]]:
        """The `[[clusters.nodes]]` entries of helios.toml: the first member alone."""
        return [{"name": NAMES[0], "host": HOST, "port": self.members[NAMES[0]].port}]

    def cluster(self) -> dict[str, Any]:
        """What some Patroni answers to GET /cluster; empty while none does."""
        for url in self.urls:
            try:
                with urllib.request.urlopen(f"{url}/cluster", timeout=2) as answer:
                    found: dict[str, Any] = json.loads(answer.read())
                    return found
            except (OSError, ValueError):
                continue
        return {}

    def leader(self) -> str | None:
        """Name of the member that leads and runs."""
        members = self.cluster().get("members") or ()
        return next((m["name"] for m in members if m["role"] == "leader" and m["state"] == "running"), None)

    def await_streaming(self, count: int) -> str:
        """Wait until so many members stream from a leader, one of them synchronous; the leader."""

        def settled() -> str | None:
            members = self.cluster().get("members") or ()
            streaming = [member for member in members if member["state"] == "streaming"]
            synchronous = [member for member in streaming if member["role"] == "sync_standby"]
            return self.leader() if len(streaming) == count and synchronous else None

        return str(until(settled, f"{count} members stream: {self.root}: {self.cluster()}", START_SECONDS))

    def ask(self, name: str, sql: str, database: str = DATABASE) -> str | None:
        """First column of the first row at one server, as the superuser."""
        with Client(superuser_of(self._servers[name], database)) as client:
            return client.value(sql)

    def app(self, name: str) -> Target:
        """Log in to one server past Helios."""
        return Target(HOST, self.members[name].port, APP, PASSWORDS[APP], DATABASE)

    def switch_over(self, leader: str, candidate: str, at: datetime | None = None) -> None:
        """`patronictl switchover`."""
        when = at.isoformat() if at is not None else "now"
        names = ["--leader", leader, "--candidate", candidate, "--scheduled", when, "--force"]
        config = str(self.members[candidate].config)
        done = subprocess.run(
            [str(Path(sys.executable).with_name("patronictl")), "-c", config, "switchover", SCOPE, *names],
            capture_output=True,
            text=True,
            check=False,
            timeout=START_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, name: str) -> None:
        """Start a member, or start it again."""
        member = self.members[name]
        if not member.folder.exists():
            member.folder.mkdir()
            self._own(member.folder)
        member.config.write_text(yaml.safe_dump(self._configuration(member)))
        self._own(member.config)
        with member.log.open("ab") as log:
            options = Spawn(self._identity, env=dict(os.environ), cwd=member.folder, stdout=log, stderr=log)
            member.process = spawn([sys.executable, "-m", "patroni", str(member.config)], options)

    def kill_server(self, name: str) -> None:
        """SIGKILL for the postmaster: Patroni lives."""
        os.kill(self.members[name].postmaster, signal.SIGKILL)

    def stop(self) -> None:
        """End all and remove the folder."""
        for member in self.members.values():
            if member.process is not None:
                member.process.kill()
                member.process.wait()
            if (member.data / "postmaster.pid").is_file():
                _end(member.postmaster)
        self._etcd.kill()
        self._etcd.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    def _server(self, member: _Member) -> PostgresServer:
        """To log in by; it is Patroni who starts it."""
        options = ServerOptions(port=member.port, superuser=SUPERUSER, password=PASSWORD)
        return PostgresServer(self.root, f"{member.name}-login", options)

    def _configuration(self, member: _Member) -> dict[str, Any]:
        address = f"{HOST}:{member.port}"
        return {
            "scope": SCOPE,
            "name": member.name,
            "restapi": {"listen": f"{HOST}:{member.rest}", "connect_address": f"{HOST}:{member.rest}"},
            "etcd3": {"host": f"{HOST}:{self._etcd_port}"},
            "bootstrap": {"dcs": RULES, "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums", "no-sync"]},
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "data_dir": str(member.data),
                "bin_dir": str(self._binaries.folder),
                "pgpass": str(member.folder / "pgpass"),
                "authentication": {
                    "superuser": {"username": SUPERUSER, "password": PASSWORD},
                    "replication": REPLICATION,
                    "rewind": {"username": SUPERUSER, "password": PASSWORD},
                },
                "parameters": {"unix_socket_directories": "", "fsync": "off", "wal_log_hints": "on"},
                "pg_hba": [
                    *HBA,
                    f"host all all {HOST}/32 scram-sha-256",
                    f"host replication all {HOST}/32 scram-sha-256",
                ],
            },
        }

    def _start_etcd(self, program: Path) -> subprocess.Popen[bytes]:
        clients, peers = f"http://{HOST}:{self._etcd_port}", f"http://{HOST}:{free_port()}"
        arguments = [
            f"--data-dir={self.root / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
        ]
        with (self.root / "etcd.log").open("wb") as log:
            return spawn([program, *arguments], Spawn(stdout=log, stderr=log))

    def _own(self, path: Path) -> None:
        if self._identity is not None:
            os.chown(path, self._identity.uid, self._identity.gid)


def _end(postmaster: int) -> None:
    """A server that outlives its Patroni, as Patroni wants it."""
    try:
        os.kill(postmaster, signal.SIGQUIT)
    except ProcessLookupError:
        return
    until(lambda: not Path(f"/proc/{postmaster}").exists(), "the server to end", 30)
