"""The lease as the lock of a file, for the proxies of one machine. Made by `controller`.

The kernel gives the lock back when its holder ends, and not before: a holder that is stopped keeps it, so that two
never promote. What is decided is written down before it is done, so that the next holder goes on from there. Each proxy
has a file of its own in the folder beside it, locked while it lives, in which it says how far it has followed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from helios.failover.lease import LeaseError
from helios.failover.record import Record

__all__ = ["FileLease"]

_CALM_SECONDS = 0.05
_BUSY_SECONDS = 0.01
"""While something is being decided: clients wait until everybody has seen it."""


class FileLease:
    """The lease in one file."""

    lapsed = None
    """Who lives is waited for."""

    def __init__(self, path: Path) -> None:
        """Join those that share it. `LeaseError` if the file or the folder beside it cannot be made."""
        self.path = path
        self._state = path.with_name(path.name + ".state")
        self._members = path.with_name(path.name + ".members")
        self._lock: int | None = None
        self._followed: dict[str, int] = {}
        self.problem: str | None = None
        self.records: Mapping[str, Record] = {}
        try:
            self._members.mkdir(parents=True, exist_ok=True)
            self._own = self._members / f"{os.getpid()}-{secrets.token_hex(4)}"
            self._own_lock = os.open(self._own, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._own_lock, fcntl.LOCK_EX)
            self._say()
        except OSError as error:
            raise LeaseError(f"failover.lease_file {path}: {error.strerror}") from error

    @property
    def look_seconds(self) -> float:
        """Short while something is being decided."""
        return _BUSY_SECONDS if any(record.is_open for record in self.records.values()) else _CALM_SECONDS

    @property
    def is_held(self) -> bool:
        """Whether this process may promote."""
        return self._lock is not None

    async def refresh(self) -> None:
        """Take it if nobody has it, and read what is decided."""
        try:
            self._acquire()
            self.records = self._read()
        except LeaseError as error:
            self.problem = str(error)
        else:
            self.problem = None

    def _acquire(self) -> None:
        if self._lock is not None:
            return
        try:
            lock = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LeaseError(f"failover.lease_file {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
        else:
            self._lock = lock

    def _read(self) -> dict[str, Record]:
        try:
            document = json.loads(self._state.read_text())
            return {name: Record.model_validate(record) for name, record in document.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, ValidationError, AttributeError) as error:
            raise LeaseError(f"{self._state} cannot be read: {error}") from error

    async def write(self, cluster: str, record: Record) -> None:
        """Decide; on disk when it returns."""
        if not self.is_held:
            raise LeaseError("the lease is not held")
        records = self._read() | {cluster: record}
        draft = self._state.with_name(self._state.name + ".new")
        try:
            with draft.open("w") as file:
                json.dump({name: each.model_dump() for name, each in records.items()}, file)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self._state)
        except OSError as error:
            raise LeaseError(f"{self._state} cannot be written: {error.strerror}") from error
        self.records = records

    async def follow(self, cluster: str, term: int) -> None:
        """Say that this proxy acts by what was decided in `term`."""
        if self._followed.get(cluster) == term:
            return
        self._followed[cluster] = term
        try:
            self._say()
        except OSError as error:
            raise LeaseError(f"{self._own} cannot be written: {error.strerror}") from error

    async def stragglers(self, cluster: str, term: int) -> list[str]:
        """Proxies that live and do not act by what was decided in `term`."""
        try:
            return [name for name, followed in self._followers().items() if followed.get(cluster, -1) < term]
        except OSError as error:
            raise LeaseError(f"{self._members} cannot be read: {error.strerror}") from error

    async def close(self) -> None:
        """Give everything back."""
        with contextlib.suppress(OSError):
            self._own.unlink()
        os.close(self._own_lock)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _say(self) -> None:
        text = json.dumps(self._followed).encode()
        os.pwrite(self._own_lock, text + b"\n", 0)
        os.ftruncate(self._own_lock, len(text) + 1)

    def _followers(self) -> Mapping[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for file in self._members.iterdir():
            if file == self._own:
                found[file.name] = self._followed
            elif (said := _living(file)) is not None:
                found[file.name] = said
        return found


def _living(file: Path) -> dict[str, int] | None:
    """What another proxy says; None, and its file removed, if it has ended."""
    try:
        other = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        with contextlib.suppress(ValueError):
            said: Any = json.loads(os.pread(other, 65_536, 0).partition(b"\n")[0])
            if isinstance(said, dict):
                return said
        return {}  # it is just writing
    else:
        file.unlink(missing_ok=True)
        return None
    finally:
        os.close(other)
