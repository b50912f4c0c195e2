"""The three parties of a benchmark on loopback: PostgreSQL, PgBouncer and Helios. Made by `run`, used by `figures`.

Both proxies get the same pool size, let clients in without a password and log in to the server as the same role. All
processes are our children, are ended by pid, and die with us.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from helios.errors import HeliosError
from helios.play import sql
from helios.play.folders import open_folder
from helios.play.postgres import Binaries, PostgresServer, ServerOptions, find_binaries, start_primary
from helios.play.process import Identity, Spawn, free_port, run, spawn, unprivileged_identity

__all__ = [
    "DATABASE",
    "HOST",
    "PASSWORD",
    "ROLE",
    "BenchError",
    "MissingTool",
    "Proxy",
    "Rig",
    "Way",
    "find_pgbouncer",
    "open_rig",
]

T = TypeVar("T")

HOST = "127.0.0.1"
DATABASE = "bench"
ROLE = "bench"
START_SECONDS = 120  # a proxy under valgrind takes its time
END_SECONDS = 20
POLL_SECONDS = 0.05
CERTIFICATE, KEY = "proxy.crt", "proxy.key"
"""Of both proxies: P-256, which signs itself."""

PASSWORD = "bench-only"
_READY = re.compile(r"helios ready listen=[^ ]*:(\d+)")


class Way(Enum):
    """How clients come in."""

    TRUST = "trust"
    SCRAM = "scram-sha-256"
    TLS = "tls"
    """TLS is offered, and nothing else asked."""


class BenchError(HeliosError):
    """A part of the rig could not be started or driven."""


class MissingTool(BenchError):
    """A program that one figure needs is not installed."""


@dataclass
class Proxy:
    """A running proxy."""

    name: str
    """`helios` or `pgbouncer`."""

    port: int
    config: str
    """The text of its configuration file."""

    log: Path
    process: subprocess.Popen[bytes]
    identity: Identity | None
    """The user it runs as; None: ourselves."""

    end_signal: signal.Signals

    @property
    def pid(self) -> int:
        """The process that was started; what it started is below it."""
        return self.process.pid

    def check(self) -> None:
        """Raise BenchError if it has ended."""
        if self.process.poll() is not None:
            raise BenchError(f"{self.name} ended with status {self.process.returncode}:\n{_tail(self.log)}")

    def stop(self) -> None:
        """End it. Raises BenchError when it had to be killed."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(self.end_signal)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            self.process.wait()
            raise BenchError(f"{self.name} did not end within {END_SECONDS} s:\n{_tail(self.log)}") from error


class Rig:
    """PostgreSQL with pgbench's tables, and proxies on demand."""

    def __init__(self, folder: Path, postgres: PostgresServer, workers: int, io: str) -> None:
        """`workers` for Helios where a figure does not say otherwise, 0 leaves it to Helios; `io` as in helios.toml."""
        self.folder = folder
        self.postgres = postgres
        self.workers = workers
        self.io = io
        self._count = 0

    @property
    def binaries(self) -> Binaries:
        """The PostgreSQL installation whose server and pgbench are used."""
        return self.postgres.binaries

    @contextlib.contextmanager
    def helios(
        self,
        pool_size: int,
        workers: int | None = None,
        wrapper: Sequence[str] = (),
        way: Way = Way.TRUST,
        io: str | None = None,
        more: str = "",
    ) -> Iterator[Proxy]:
        """Helios in transaction mode, ready to answer; `wrapper` is a command that runs it, as valgrind does; `more` is
        added to its configuration."""
        workers = self.workers if workers is None else workers
        config = _helios_toml(self.postgres, pool_size, workers, io or self.io, way) + more
        file, log = self._file("helios", "toml", config)
        python = os.environ.get("HELIOS_PYTHON", sys.executable)
        process = self._spawn([*wrapper, python, "-m", "helios", "serve", "-c", file], log, None)
        proxy = Proxy("helios", 0, config, log, process, None, signal.SIGINT)
        with _ended(proxy):
            proxy.port = _await(proxy, lambda: _ready_port(log))
            yield self._answering(proxy)

    @contextlib.contextmanager
    def pgbouncer(self, pool_size: int, wrapper: Sequence[str] = (), way: Way = Way.TRUST) -> Iterator[Proxy]:
        """PgBouncer in transaction mode, ready to answer; it refuses root, so it runs as PostgreSQL's user."""
        port = free_port()
        config = _pgbouncer_ini(self.postgres, port, pool_size, way)
        file, log = self._file("pgbouncer", "ini", config)
        process = self._spawn([*wrapper, find_pgbouncer(), file], log, unprivileged_identity())
        proxy = Proxy("pgbouncer", port, config, log, process, unprivileged_identity(), signal.SIGTERM)
        with _ended(proxy):
            yield self._answering(proxy)

    def _answering(self, proxy: Proxy) -> Proxy:
        target = sql.Target(HOST, proxy.port, ROLE, PASSWORD, DATABASE)

        def answer() -> object:
            with contextlib.suppress(*sql.SQL_ERRORS):
                return sql.fetch(target, "select 1 as one", timeout=5)
            return None

        _await(proxy, answer)
        return proxy

    def _file(self, name: str, suffix: str, text: str) -> tuple[Path, Path]:
        self._count += 1
        file = self.folder / f"{name}-{self._count}.{suffix}"
        file.write_text(text)
        return file, file.with_suffix(".log")

    def _spawn(self, argv: list[str | Path], log: Path, identity: Identity | None) -> subprocess.Popen[bytes]:
        with log.open("wb") as out:
            return spawn(argv, Spawn(identity, cwd=self.folder, stdout=out, stderr=out))


@contextlib.contextmanager
def open_rig(folder: Path, workers: int, io: str = "auto", scale: int = 1) -> Iterator[Rig]:
    """PostgreSQL in `folder` (fsync off, 200 connections) with pgbench's tables; ends it afterwards."""
    open_folder(folder)
    options = ServerOptions(fsync=False, settings={"max_connections": "200"})
    binaries = find_binaries()
    server = start_primary(folder, options=options, binaries=binaries)
    try:
        sql.execute(server.target(), f"create role {ROLE} login password '{PASSWORD}'")
        sql.execute(server.target(), f"create database {DATABASE} owner {ROLE}")
        verifier = sql.fetch(server.target(), "select rolpassword from pg_authid where rolname = $1", ROLE)
        (folder / "userlist.txt").write_text(f'"{ROLE}" "{verifier[0]["rolpassword"]}"\n')
        where = ["-h", HOST, "-p", str(server.port), "-U", ROLE]
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        _write_certificate(folder)
        made = run([binaries.tool("pgbench"), "-i", "-q", "-s", str(scale), *where, DATABASE], Spawn(env=environment))
        if made.returncode != 0:
            raise BenchError(f"pgbench could not make its tables:\n{made.stdout}")
        yield Rig(folder, server, workers, io)
    finally:
        server.stop("immediate")


def _write_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now)
    signed = made.not_valid_after(now + dt.timedelta(days=1)).sign(key, hashes.SHA256())
    (folder / CERTIFICATE).write_bytes(signed.public_bytes(Encoding.PEM))
    (folder / KEY).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def find_pgbouncer() -> str:
    """$HELIOS_PGBOUNCER, else the one on the PATH. Raises BenchError when there is none."""
    found = os.environ.get("HELIOS_PGBOUNCER") or shutil.which("pgbouncer")
    if found is None:
        raise BenchError("no PgBouncer: run `make bench`, or name one of 1.21 or newer in HELIOS_PGBOUNCER")
    return found


def _helios_toml(server: PostgresServer, pool_size: int, workers: int, io: str, way: Way) -> str:
    auth = 'method = "trust"'
    if way is Way.SCRAM:
        auth = 'method = "scram-sha-256"\nusers_file = "userlist.txt"'
    tls = f'[tls]\nmode = "allow"\ncert_file = "{CERTIFICATE}"\nkey_file = "{KEY}"\n' if way is Way.TLS else ""
    return f"""\
listen_address = "{HOST}:0"
{f"workers = {workers}" if workers else "# workers: Helios decides"}
io = "{io}"
[admin]
address = "{HOST}:0"
[auth]
{auth}
{tls}[monitor]
user = "{server.superuser}"
password = "{server.password}"
[pool]
mode = "transaction"
max_size = {pool_size}
[[clusters]]
name = "main"
[[clusters.nodes]]
name = "primary"
host = "{server.host}"
port = {server.port}
role = "primary"
[[databases]]
name = "{DATABASE}"
cluster = "main"
user = "{ROLE}"
password = "{PASSWORD}"
"""


def _pgbouncer_ini(server: PostgresServer, port: int, pool_size: int, way: Way) -> str:
    method = "scram-sha-256" if way is Way.SCRAM else "trust"
    tls = f"client_tls_sslmode = allow\nclient_tls_cert_file = {CERTIFICATE}\nclient_tls_key_file = {KEY}\n"
    return f"""\
[databases]
{DATABASE} = host={server.host} port={server.port} dbname={DATABASE} user={ROLE} password={PASSWORD}
[pgbouncer]
listen_addr = {HOST}
listen_port = {port}
unix_socket_dir =
auth_type = {method}
auth_file = userlist.txt
{tls if way is Way.TLS else ""}\
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 10000
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
"""


@contextlib.contextmanager
def _ended(proxy: Proxy) -> Iterator[None]:
    try:
        yield
        proxy.check()
    finally:
        proxy.stop()


def _ready_port(log: Path) -> int | None:
    found = _READY.search(log.read_text(errors="replace"))
    return int(found[1]) if found else None


def _await(proxy: Proxy, probe: Callable[[], T | None]) -> T:
    """What `probe` answers as soon as it answers; BenchError when the proxy ends or START_SECONDS pass."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        proxy.check()
        answer = probe()
        if answer is not None:
            return answer
        if time.monotonic() > deadline:
            raise BenchError(f"{proxy.name} is not ready after {START_SECONDS} s:\n{_tail(proxy.log)}")
        time.sleep(POLL_SECONDS)


def _tail(log: Path, lines: int = 12) -> str:
    return "\n".join(f"  {line}" for line in log.read_text(errors="replace").splitlines()[-lines:]) or "  (no output)"
