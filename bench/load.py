"""Drive a proxy with pgbench and weigh what that cost. Called by `figures`."""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import proc
from helios.play.process import Spawn, run
from rig import DATABASE, HOST, PASSWORD, ROLE, BenchError, MissingTool, Proxy, Rig

__all__ = ["CALM", "PROTOCOLS", "Load", "Patience", "Run", "Wait", "drive"]

PROTOCOLS = ("simple", "extended", "prepared")
"""pgbench's -M: Query; unnamed Parse, Bind, Execute; a statement prepared once per client."""

END_SECONDS = 60
CALM = 0.1
"""A run counts as undisturbed while other processes take less than this share of the machine."""
CALM_WINDOW_SECONDS = 0.5

_FACTS = {
    "transactions": re.compile(r"number of transactions actually processed: (\d+)"),
    "failed": re.compile(r"number of failed transactions: (\d+)"),
    "latency_ms": re.compile(r"latency average = ([0-9.]+) ms"),
    "tps": re.compile(r"tps = ([0-9.]+)"),
}


@dataclass(frozen=True)
class Load:
    """One run of `pgbench -S`: a SELECT by primary key per transaction."""

    protocol: str
    clients: int
    seconds: int
    threads: int = 1
    reconnect: bool = False
    """A new connection for each transaction (-C)."""

    log: Path | None = None
    """Prefix of the file that gets the latency of each transaction."""

    script: Path | None = None
    """What a transaction is instead."""

    sslmode: str = "disable"

    def arguments(self) -> list[str]:
        """For pgbench."""
        counts = ["-c", str(self.clients), "-j", str(self.threads), "-T", str(self.seconds)]
        options = (["-C"] if self.reconnect else []) + (["-l", f"--log-prefix={self.log}"] if self.log else [])
        work = ["-S"] if self.script is None else ["-f", str(self.script), "-D", "is_set=0"]
        return ["-n", *work, "-M", self.protocol, *counts, *options]


@dataclass(frozen=True)
class Wait:
    """From the moment a client asks to its answer, in microseconds since the epoch."""

    began: int
    ended: int

    @property
    def took(self) -> int:
        """Microseconds."""
        return self.ended - self.began


@dataclass(frozen=True)
class Run:
    """What one run did and cost."""

    transactions: int
    failed: int
    tps: float
    latency_ms: float
    cpu: proc.Cpu
    """Of all processes of the proxy, microseconds per transaction."""

    others: float
    """Share of the machine (0 to 1) that was taken by processes that are no part of the benchmark."""

    waits: list[Wait] = field(default_factory=list, repr=False)
    """Of each transaction, if Load.log was given."""


class Patience:
    """Time that the whole benchmark may spend on waiting for others to finish what they do on this machine."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def wait_until_calm(self) -> None:
        """Return when half a second was calm, or when no time is left."""
        while self._left > 0:
            before = proc.busy_of_machine()
            time.sleep(CALM_WINDOW_SECONDS)
            self._left -= CALM_WINDOW_SECONDS
            taken = (proc.busy_of_machine() - before) / 1e6 / CALM_WINDOW_SECONDS / (os.cpu_count() or 1)
            if taken < CALM:
                return


def drive(rig: Rig, proxy: Proxy, load: Load) -> Run:
    """Run pgbench against a proxy. Raises BenchError when it reports any error."""
    began, machine, ours = time.monotonic(), proc.busy_of_machine(), _benchmark_cpu(rig, proxy)
    before = proc.cpu_of(proxy.pid)
    facts = _pgbench(rig, proxy, load)
    spent = proc.cpu_of(proxy.pid) - before
    proxy.check()
    foreign = proc.busy_of_machine() - machine - (_benchmark_cpu(rig, proxy) - ours)
    return Run(
        transactions=int(facts["transactions"]),
        failed=int(facts["failed"]),
        tps=facts["tps"],
        latency_ms=facts["latency_ms"],
        cpu=spent.per(facts["transactions"]),
        others=max(0.0, foreign / 1e6 / (time.monotonic() - began) / (os.cpu_count() or 1)),
        waits=_waits(load.log) if load.log else [],
    )


def _pgbench(rig: Rig, proxy: Proxy, load: Load) -> dict[str, float]:
    """What pgbench reports about a run without errors."""
    where = ["-h", HOST, "-p", str(proxy.port), "-U", ROLE, DATABASE]
    options = {"PGSSLMODE": load.sslmode, "PGGSSENCMODE": "disable", "PGPASSWORD": PASSWORD, "LC_ALL": "C"}
    environment = {**os.environ, **options}
    pgbench = rig.binaries.tool("pgbench") if load.sslmode == "disable" else _encrypting_pgbench()
    argv: list[str | Path] = [pgbench, *load.arguments(), *where]
    try:
        done = run(argv, Spawn(env=environment), timeout=load.seconds + END_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"pgbench through {proxy.name} did not end {END_SECONDS} s after its time") from error
    facts = _facts(done.stdout)
    if done.returncode != 0 or facts is None or facts["failed"] or not facts["transactions"]:
        command = " ".join(["pgbench", *load.arguments()])
        raise BenchError(f"`{command}` through {proxy.name} failed (status {done.returncode}):\n{_gist(done.stdout)}")
    return facts


def _encrypting_pgbench() -> Path:
    """One of the system's: PostgreSQL from PyPI is built without TLS. MissingTool if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))
    if not found:
        raise MissingTool("no pgbench with TLS: install postgresql")
    return found[-1]


def _benchmark_cpu(rig: Rig, proxy: Proxy) -> float:
    """Microseconds of the proxy, the server, pgbench and this program."""
    postgres = 0.0 if rig.postgres.pid is None else proc.cpu_of(rig.postgres.pid).total
    own = time.process_time_ns() / 1e3
    return proc.cpu_of(proxy.pid).total + postgres + proc.ended_children() + own


def _facts(output: str) -> dict[str, float] | None:
    found = {name: pattern.search(output) for name, pattern in _FACTS.items()}
    return {name: float(match[1]) for name, match in found.items() if match} if all(found.values()) else None


def _gist(output: str) -> str:
    lines = output.splitlines()
    return "\n".join(f"  {line}" for line in (lines if len(lines) < 12 else [*lines[:6], "…", *lines[-6:]]))


def _waits(prefix: Path) -> list[Wait]:
    """From pgbench's logs (one a thread), which are removed: client, number, microseconds, script, end (s, µs)."""
    found: list[Wait] = []
    for log in prefix.parent.glob(f"{prefix.name}.*"):
        for line in log.read_text().splitlines():
            _client, _number, took, _script, seconds, micros = map(int, line.split()[:6])
            ended = seconds * 1_000_000 + micros
            found.append(Wait(ended - took, ended))
        log.unlink()
    return found
