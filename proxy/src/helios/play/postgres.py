"""A real PostgreSQL primary and its streaming standbys on loopback, owned by this process.

Called by helios.play.session and by e2e/harness. Each server is `postgres` itself as our direct child (no pg_ctl), in
its own session, as an unprivileged user when we are root, and with a death signal (helios.play.process): when this
process ends, by SIGKILL too, the kernel sends SIGQUIT to the postmaster, which ends its backends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from helios.play import sql
from helios.play.binaries import Binaries, find_binaries
from helios.play.errors import PostgresError, last_lines
from helios.play.folders import open_folder, remove_tree
from helios.play.process import (
    Spawn,
    children_of,
    free_port,
    is_alive,
    run,
    spawn,
    unprivileged_identity,
)

__all__ = [
    "Binaries",
    "PostgresServer",
    "ServerOptions",
    "find_binaries",
    "open_folder",
    "outwait_predecessor",
    "start_primary",
    "start_standby",
]

HOST = "127.0.0.1"
POLL_SECONDS = 0.05

UNSYNCED = ("--no-sync",)
"""A folder being made holds nothing yet that a crash of the machine could take, and syncing it takes seconds."""

BASE_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "wal_level": "replica",
    "wal_log_hints": "on",  # pg_rewind needs it
    "hot_standby": "on",
    "max_connections": "200",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "max_slot_wal_keep_size": "1GB",  # a standby that is gone must not fill the disk
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "500ms",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "password_encryption": "scram-sha-256",
}
"""Given on the command line of every server; ServerOptions.settings go on top."""


@dataclass(frozen=True)
class ServerOptions:
    """What a server is made and started with."""

    port: int = 0
    """0: any free port, kept from then on."""

    superuser: str = "postgres"
    password: str = ""
    """Of the superuser; empty: a random one when the data folder is made."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """PostgreSQL settings on top of BASE_SETTINGS."""

    hba: Sequence[str] = ()
    """Lines put before initdb's pg_hba.conf (which demands SCRAM from everyone on loopback)."""

    fsync: bool = True
    """False only for tests: a crash of the machine then loses the data."""

    start_seconds: float = 60
    """How long a start may take until the server answers queries."""


class PostgresServer:
    """One PostgreSQL server on loopback. `data` is its PGDATA, `log` the file beside it, `pid` the postmaster's."""

    def __init__(self, root: Path, name: str, options: ServerOptions, binaries: Binaries | None = None) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?", name):
            raise PostgresError(f"server name {name!r}: use at most 42 of a-z, 0-9 and inner hyphens, like `standby-1`")
        self.name = name
        self.host = HOST
        self.port = options.port
        self.superuser = options.superuser
        self.password = options.password or secrets.token_urlsafe(18)
        self.data = root / name
        self.log = root / f"{name}.log"
        self.options = options
        self.binaries = binaries or find_binaries()
        self._root = root
        self._identity = unprivileged_identity()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The postmaster's process id; None when it does not run."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    @property
    def is_initialised(self) -> bool:
        """Whether the data folder has been made."""
        return (self.data / "PG_VERSION").is_file()

    @property
    def is_standby(self) -> bool:
        """Whether the data folder says that it starts as a standby."""
        return (self.data / "standby.signal").is_file()

    def target(self, database: str = "postgres", user: str | None = None, password: str | None = None) -> sql.Target:
        """Where helios.play.sql connects to; the superuser unless another user is named."""
        if user is None:
            return sql.Target(self.host, self.port, self.superuser, self.password, database)
        return sql.Target(self.host, self.port, user, password or "", database)

    def dsn(self, database: str = "postgres", user: str | None = None, password: str | None = None) -> str:
        """`postgresql://user:password@host:port/database`; the superuser unless another user is named."""
        who = self.target(database, user, password)
        secret = f":{quote(who.password, safe='')}" if who.password else ""
        return f"postgresql://{quote(who.user, safe='')}{secret}@{who.host}:{who.port}/{quote(database, safe='')}"

    def initdb(self) -> None:
        """Make the data folder. Raises PostgresError with initdb's own last lines; leaves no half-made folder."""
        secret = self._root / f".{self.name}.password"
        with self._made_whole() as draft:
            try:
                self._write_owned(secret, self.password)
                options = ["-U", self.superuser, "--auth=scram-sha-256", f"--pwfile={secret}"]
                options += ["--encoding=UTF8", "--locale=C", *UNSYNCED]
                self._tool("initdb", ["-D", str(draft), *options])
            finally:
                secret.unlink(missing_ok=True)
            if self.options.hba:
                hba = draft / "pg_hba.conf"
                hba.write_text("\n".join(self.options.hba) + "\n" + hba.read_text())

    def base_backup(self, primary: PostgresServer) -> None:
        """Make the data folder as a streaming standby of `primary`, with a replication slot. Raises PostgresError."""
        slot = self.name.replace("-", "_")
        drop = (
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1 and not active"
        )
        try:
            sql.fetch(primary.target(), drop, slot)
        except sql.SQL_ERRORS as error:
            reason = f"primary `{primary.name}` answers: {error}"
            raise PostgresError(f"cannot make standby `{self.name}`: {reason}") from error
        source = ["-h", primary.host, "-p", str(primary.port), "-U", primary.superuser, "-w"]
        options = ["-R", "-C", "-S", slot, "-X", "stream", "-c", "fast", *UNSYNCED]
        with self._made_whole() as draft:
            self._tool("pg_basebackup", ["-D", str(draft), *source, *options], {"PGPASSWORD": primary.password})
        self.superuser, self.password = primary.superuser, primary.password

    def follow(self, primary: PostgresServer) -> None:
        """Point this (stopped) standby at where `primary` listens now."""
        auto = self.data / "postgresql.auto.conf"
        kept = [line for line in auto.read_text().splitlines() if not line.startswith("primary_conninfo")]
        where = f"host={primary.host} port={primary.port} user={primary.superuser} password={primary.password}"
        auto.write_text("\n".join([*kept, f"primary_conninfo = '{where} sslmode=disable gssencmode=disable'"]) + "\n")
        self.superuser, self.password = primary.superuser, primary.password

    def rewind(self, primary: PostgresServer) -> None:
        """Make this (stopped) former primary a standby of `primary`: what it wrote alone is given up. PostgresError."""
        source = f"host={primary.host} port={primary.port} user={primary.superuser} dbname=postgres"
        options = ["--target-pgdata", str(self.data), "--source-server", source, *UNSYNCED]
        self._tool("pg_rewind", options, {"PGPASSWORD": primary.password})
        slot = self.name.replace("-", "_")
        make = (
            "select pg_create_physical_replication_slot($1, true) "
            "where not exists (select from pg_replication_slots where slot_name = $1)"
        )
        sql.fetch(primary.target(), make, slot)
        self.follow(primary)
        # pg_rewind has brought the source's settings, and with them its slot.
        auto = self.data / "postgresql.auto.conf"
        kept = [line for line in auto.read_text().splitlines() if not line.startswith("primary_slot_name")]
        auto.write_text("\n".join([*kept, f"primary_slot_name = '{slot}'"]) + "\n")
        self._write_owned(self.data / "standby.signal", "")

    def start(self) -> None:
        """Start and wait until it answers a query. Raises PostgresError with the last lines of its log."""
        if self.pid is not None:
            raise PostgresError(f"PostgreSQL `{self.name}` already runs with pid {self.pid}")
        self._prepare_root()
        outwait_predecessor(self.data)
        chosen = self.port
        for attempt in range(3):
            self.port = chosen or free_port()
            log_start = self.log.stat().st_size if self.log.exists() else 0
            self._launch()
            try:
                if self._wait_until_answering():
                    return
            except BaseException:
                self.kill()
                raise
            said = self._log_since(log_start)
            if chosen or "Address already in use" not in said or attempt == 2:
                self.port = chosen
                raise PostgresError(self._explain(f"PostgreSQL `{self.name}` ({self.data}) did not start", said))

    def stop(self, mode: Literal["fast", "immediate"] = "fast", timeout: float = 30) -> None:
        """End it: `fast` with a checkpoint, `immediate` like a crash. Not running is fine.

        After `timeout` seconds it is killed and PostgresError raised.
        """
        child = self._child
        if child is None:
            return
        child.send_signal(signal.SIGINT if mode == "fast" else signal.SIGQUIT)
        try:
            child.wait(timeout)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise PostgresError(f"PostgreSQL `{self.name}` did not stop ({mode}) in {timeout:g} s: killed") from error
        self._child = None

    def kill(self) -> None:
        """SIGKILL the postmaster and its backends, as a power cut would; returns when all are gone."""
        child = self._child
        if child is None:
            return
        family = children_of(child.pid)
        segments = {segment for pid in (child.pid, *family) for segment in _shared_segments(pid)}
        child.kill()
        child.wait()
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while any(is_alive(pid) for pid in family):
            if time.monotonic() > deadline:
                raise PostgresError(f"backends of the killed PostgreSQL `{self.name}` are still there after 10 s")
            time.sleep(POLL_SECONDS)
        for segment in segments:
            segment.unlink(missing_ok=True)
        self._child = None

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop and start on the same port."""
        self.stop(mode)
        self.start()

    def promote(self, timeout: float = 60) -> None:
        """Make this standby a primary; returns when it accepts writes. Raises PostgresError."""
        try:
            rows = sql.fetch(self.target(), "select pg_promote(true, $1) as done", int(timeout), timeout=timeout + 5)
        except sql.SQL_ERRORS as error:
            raise PostgresError(f"cannot promote `{self.name}`: {error}") from error
        if not rows[0]["done"]:
            raise PostgresError(f"promotion of `{self.name}` did not finish in {timeout:g} s; see {self.log}")

    def _launch(self) -> None:
        settings = {**BASE_SETTINGS, "port": str(self.port), "cluster_name": self.name}
        settings |= {} if self.options.fsync else {"fsync": "off"}
        settings |= dict(self.options.settings)
        flags = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        with self.log.open("ab") as log:
            options = Spawn(
                self._identity,
                clean_environment(),
                self._root,
                stdout=log,
                stderr=log,
                death_signal=signal.SIGQUIT,
            )
            self._child = spawn([self.binaries.tool("postgres"), "-D", self.data, *flags], options)

    def _wait_until_answering(self) -> bool:
        deadline = time.monotonic() + self.options.start_seconds
        while self.pid is not None:
            with contextlib.suppress(*sql.SQL_ERRORS):
                sql.fetch(self.target(), "select 1", timeout=5)
                return True
            if time.monotonic() > deadline:
                raise PostgresError(
                    f"PostgreSQL `{self.name}` answers no query {self.options.start_seconds:g} s after its start; "
                    f"its log ends with:\n{last_lines(self._log_since(0))}"
                )
            time.sleep(POLL_SECONDS)
        self._child = None
        return False

    def _log_since(self, offset: int) -> str:
        with self.log.open("rb") as log:
            log.seek(offset)
            return log.read()[-65536:].decode(errors="replace")

    def _tool(self, name: str, arguments: list[str], secrets_env: Mapping[str, str] | None = None) -> None:
        options = Spawn(self._identity, clean_environment() | dict(secrets_env or {}), self._root)
        try:
            done = run([self.binaries.tool(name), *arguments], options, timeout=300)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PostgresError(f"{name} for `{self.name}` in {self.data} failed: {error}") from error
        if done.returncode != 0:
            raise PostgresError(self._explain(f"{name} for `{self.name}` in {self.data} failed", done.stdout))

    def _explain(self, what: str, said: str) -> str:
        cause = "; no space is left on the disk that holds this folder" if os.strerror(errno.ENOSPC) in said else ""
        return f"{what}{cause}:\n{last_lines(said)}"

    def _prepare_root(self) -> None:
        open_folder(self._root, self._identity)

    @contextlib.contextmanager
    def _made_whole(self) -> Iterator[Path]:
        """A folder beside `data` to make it in; it gets the name at the end, so a cut-off attempt leaves nothing."""
        self._prepare_root()
        draft = self.data.with_name(f"{self.name}.new")
        remove_tree(draft)
        try:
            yield draft
            draft.rename(self.data)
        except OSError as error:
            remove_tree(draft)
            raise PostgresError(f"cannot make the data folder {self.data}: {error.strerror}") from error
        except BaseException:
            remove_tree(draft)
            raise

    def _write_owned(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            if self._identity is not None:
                os.fchown(file.fileno(), self._identity.uid, self._identity.gid)
            file.write(text)


def start_primary(
    root: Path, name: str = "primary", options: ServerOptions | None = None, binaries: Binaries | None = None
) -> PostgresServer:
    """Start a primary whose data folder is `root/name`, making it first when it is not there.

    For an existing data folder options.password must be its superuser's. Raises PostgresError.
    """
    server = PostgresServer(root, name, options or ServerOptions(), binaries)
    if not server.is_initialised:
        server.initdb()
    server.start()
    return server


def start_standby(
    primary: PostgresServer, name: str = "standby-1", options: ServerOptions | None = None
) -> PostgresServer:
    """Start a streaming standby of the running `primary`, in a folder beside the primary's.

    An existing standby folder is pointed at the primary's port and started. Raises PostgresError.
    """
    server = PostgresServer(
        primary.data.parent, name, options or ServerOptions(fsync=primary.options.fsync), primary.binaries
    )
    if server.is_initialised:
        server.follow(primary)
    else:
        server.base_backup(primary)
    server.start()
    return server


def outwait_predecessor(data: Path, seconds: float = 15) -> None:
    """Wait for a postmaster of this data folder that is ending because its owner died. Raises PostgresError."""
    deadline = time.monotonic() + seconds
    while (pid := _postmaster_of(data / "postmaster.pid")) is not None:
        if time.monotonic() > deadline:
            raise PostgresError(f"data folder {data} is in use by a PostgreSQL with pid {pid}; end it first")
        time.sleep(POLL_SECONDS)


def _shared_segments(pid: int) -> list[Path]:
    """Shared memory that a killed server leaves behind for good unless the same data folder is started again."""
    with contextlib.suppress(OSError):
        found = re.findall(r"(/dev/shm/PostgreSQL\.\d+)", Path(f"/proc/{pid}/maps").read_text())
        return [Path(name) for name in set(found)]
    return []


def clean_environment() -> dict[str, str]:
    """For PostgreSQL's programs: English messages, and no PG* variable of the caller's."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC", "HOME": "/nonexistent"}


def _postmaster_of(lock: Path) -> int | None:
    """The living postmaster that a postmaster.pid names; its working directory is the data folder."""
    try:
        pid = int(lock.read_text().split("\n", 1)[0])
        where = Path(f"/proc/{pid}/cwd").readlink()
    except (OSError, ValueError):
        return None
    return pid if where == lock.parent.resolve() else None
