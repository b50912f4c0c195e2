"""A former primary becomes a standby of the one that took its place, by pg_rewind. Called by `helios.commands.rejoin`.

It runs where the data folder is, with the server stopped. pg_rewind brings over everything that differs, the files of
settings too; this server's own ones are kept, without what a fence or an earlier primary has left in them.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from helios.errors import HeliosError
from helios.failover import conninfo
from helios.topology.connection import FAILURES

__all__ = ["Primary", "RejoinFailure", "rejoin"]

OWN_FILES: Final = ("postgresql.conf", "pg_hba.conf", "pg_ident.conf", "postgresql.auto.conf")
LEFT_BEHIND: Final = ("primary_conninfo", "primary_slot_name", "default_transaction_read_only")
"""Settings that ALTER SYSTEM has made when it was another's standby, or when it was fenced."""

_SECONDS = 10.0
_FACTS = """
SELECT pg_is_in_recovery() AS in_recovery, (SELECT system_identifier::text FROM pg_control_system()) AS system
"""
_SLOT = """
SELECT pg_create_physical_replication_slot($1::name, true)
WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1::name)
"""


class RejoinFailure(HeliosError):
    """The server is as it was, unless the message says that pg_rewind has begun."""


@dataclass(frozen=True)
class Primary:
    """The server to follow, and as whom."""

    host: str
    port: int
    user: str
    password: str | None

    def conninfo(self, **more: str) -> str:
        """As libpq takes it."""
        return conninfo.write({"host": self.host, "port": str(self.port), "user": self.user, **more})


async def rejoin(data: Path, programs: Path, primary: Primary, name: str, slot: str | None) -> None:
    """Make the stopped server of `data` a standby of `primary`, known to it by `name`. `RejoinFailure`."""
    _must_be_stopped(data)
    try:
        ours = _system_identifier(data, programs)
        kept = {file: (data / file).read_bytes() for file in OWN_FILES if (data / file).is_file()}
        await _prepare(primary, ours, slot)
        try:
            _rewind(data, programs, primary)
        finally:
            for file, content in kept.items():
                (data / file).write_bytes(content)
        _follow(data, primary, name, slot)
    except OSError as error:
        raise RejoinFailure(f"{error.filename or data}: {error.strerror}") from error


def _settings_without(text: str, names: tuple[str, ...]) -> str:
    """postgresql.auto.conf without these settings."""
    pattern = re.compile(rf"\s*({'|'.join(names)})\s*=", re.IGNORECASE)
    return "".join(line for line in text.splitlines(keepends=True) if not pattern.match(line))


def _must_be_stopped(data: Path) -> None:
    if not (data / "PG_VERSION").is_file():
        raise RejoinFailure(f"{data} is no data folder of PostgreSQL")
    try:
        pid = int((data / "postmaster.pid").read_text().split(maxsplit=1)[0])
    except (FileNotFoundError, ValueError, IndexError):
        return
    if Path(f"/proc/{pid}").exists():
        raise RejoinFailure(f"the server of {data} runs with pid {pid}: stop it first")


def _system_identifier(data: Path, programs: Path) -> str:
    said = _run(data, [str(programs / "pg_controldata"), "-D", str(data)], {"LC_ALL": "C"})
    found = re.search(r"system identifier:\s*(\d+)", said)
    if found is None:
        raise RejoinFailure(f"pg_controldata of {data} names no system identifier")
    return found[1]


async def _prepare(primary: Primary, ours: str, slot: str | None) -> None:
    """See that it is the right one, and make the slot there before anything is changed here."""
    where = f"{primary.host}:{primary.port}"
    try:
        connection = await asyncpg.connect(
            host=primary.host,
            port=primary.port,
            user=primary.user,
            password=primary.password,
            database="postgres",
            timeout=_SECONDS,
        )
        try:
            facts = await connection.fetchrow(_FACTS)
            assert facts is not None, "a SELECT without FROM gives one row"
            if facts["in_recovery"]:
                raise RejoinFailure(f"{where} is a standby itself: name the primary")
            if facts["system"] != ours:
                raise RejoinFailure(f"{where} is another database system ({facts['system']}, this one is {ours})")
            if slot is not None:
                await connection.execute(_SLOT, slot)
        finally:
            await connection.close(timeout=_SECONDS)
    except (*FAILURES, TimeoutError) as error:
        raise RejoinFailure(f"{where}: {str(error) or type(error).__name__}") from error


def _rewind(data: Path, programs: Path, primary: Primary) -> None:
    source = ["--source-server", primary.conninfo(dbname="postgres")]
    password = {} if primary.password is None else {"PGPASSWORD": primary.password}
    _run(data, [str(programs / "pg_rewind"), "--target-pgdata", str(data), *source], password)


def _follow(data: Path, primary: Primary, name: str, slot: str | None) -> None:
    password = {} if primary.password is None else {"password": primary.password}
    settings = {"primary_conninfo": primary.conninfo(application_name=name, **password)}
    if slot is not None:
        settings["primary_slot_name"] = slot
    auto, signal = data / "postgresql.auto.conf", data / "standby.signal"
    kept = _settings_without(auto.read_text() if auto.is_file() else "", LEFT_BEHIND)
    lines = "".join(f"{key} = {_quoted(value)}\n" for key, value in settings.items())
    auto.write_text(kept + lines)
    signal.touch()
    owner = data.stat()
    if os.geteuid() == 0:
        for file in (auto, signal):
            os.chown(file, owner.st_uid, owner.st_gid)


def _run(data: Path, command: list[str], environment: Mapping[str, str]) -> str:
    """Run a program of PostgreSQL as the owner of the data, which none of them does as root."""
    owner = data.stat()
    identity = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd="/",
        env={**os.environ, **environment},
        **identity,  # type: ignore[call-overload]  # keywords of subprocess
    )
    if done.returncode != 0:
        program = Path(command[0]).name
        raise RejoinFailure(f"{program} ended with status {done.returncode}: {done.stdout.strip()[-1000:]}")
    return str(done.stdout)


def _quoted(value: str) -> str:
    """For a file of settings."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
