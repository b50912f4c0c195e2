"""Start child processes that cannot outlive this one.

Called by helios.play.postgres (servers and their tools), helios.play.proxy (`helios serve`) and helios.play.command.
Every child asks the kernel for a signal when its parent dies (PR_SET_PDEATHSIG), so that even SIGKILL of the owner
ends it. The kernel means the parent *thread*; hence all children are started by one thread that lives as long as the
process, whichever thread asks.
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import os
import pwd
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from helios.play.errors import PlayError

__all__ = [
    "Identity",
    "Spawn",
    "adopt_orphans",
    "children_of",
    "end_all_children",
    "free_port",
    "hidden_folder",
    "is_alive",
    "next_free_port",
    "run",
    "spawn",
    "unprivileged_identity",
]

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.02
_ENDING = (signal.SIGINT, signal.SIGTERM)

_libc = ctypes.CDLL(None, use_errno=True)
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="helios-spawn")


@dataclass(frozen=True)
class Identity:
    """The unprivileged user that PostgreSQL runs as when we are root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Spawn:
    """What a child process is given besides its arguments."""

    identity: Identity | None = None
    """Whom to run as; None: as ourselves."""

    env: Mapping[str, str] | None = None
    """The whole environment; None: ours."""

    cwd: Path | None = None
    stdin: int | IO[bytes] | None = subprocess.DEVNULL
    stdout: int | IO[bytes] | None = None
    stderr: int | IO[bytes] | None = None

    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends to the child when this process dies."""

    own_session: bool = True
    """Its own session and process group: Ctrl-C in our terminal does not reach it."""


def unprivileged_identity() -> Identity | None:
    """The user PostgreSQL runs as: `postgres` if there is one, else `nobody`; None when we are not root.

    Raises PlayError when we are root and neither exists.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Identity(name, entry.pw_uid, entry.pw_gid)
    raise PlayError("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it as")


def hidden_folder(path: Path, identity: Identity | None) -> Path | None:
    """The topmost folder above `path` that `identity` may not enter (no x permission); None if all are open."""
    if identity is None:
        return None
    groups = {identity.gid} | {entry.gr_gid for entry in grp.getgrall() if identity.name in entry.gr_mem}
    for folder in reversed(path.absolute().parents):
        if not folder.exists():
            return None
        status = folder.stat()
        if status.st_uid == identity.uid:
            bit = stat.S_IXUSR
        elif status.st_gid in groups:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not status.st_mode & bit:
            return folder
    return None


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago on `host`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def next_free_port(wanted: int, host: str = "127.0.0.1", tries: int = 100) -> int:
    """`wanted`, or the next port above it that can be bound on `host`. Raises PlayError after `tries` taken ones."""
    for port in range(wanted, min(wanted + tries, 65536)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise PlayError(f"no free port on {host} from {wanted} to {min(wanted + tries, 65536) - 1}")


def spawn(argv: Sequence[str | Path], options: Spawn) -> subprocess.Popen[bytes]:
    """Start `argv` as a child that ends when this process ends, however it ends.

    Raises OSError as subprocess.Popen does (program missing, not executable).
    """
    return _spawner.submit(_start, [os.fspath(part) for part in argv], options).result()


def run(argv: Sequence[str | Path], options: Spawn, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run `argv` to its end; its standard output and error come back together as `stdout`.

    Raises subprocess.TimeoutExpired after `timeout` seconds (the child is then killed) and OSError like spawn.
    """
    piped = Spawn(
        identity=options.identity,
        env=options.env,
        cwd=options.cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with spawn(argv, piped) as child:
        try:
            output, _ = child.communicate(timeout=timeout)
        except BaseException:
            child.kill()
            raise
    return subprocess.CompletedProcess(child.args, child.returncode, output.decode(errors="replace"))


def children_of(pid: int) -> list[int]:
    """The direct children of all threads of a process; none when it is gone."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += [int(child) for child in task.read_text().split()]
    return found


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that end_all_children finds them too."""
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise PlayError(f"cannot become the reaper of child processes: {os.strerror(ctypes.get_errno())}")


def end_all_children(grace_seconds: float = 3) -> None:
    """End every process below this one: SIGTERM, and SIGKILL after `grace_seconds`; returns when all are gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + grace_seconds
        while living := [pid for pid in children_of(os.getpid()) if _reap(pid)]:
            for pid in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)


def _reap(pid: int) -> bool:
    """Collect the child's status if it has ended; whether it still runs."""
    try:
        ended, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return False
    return ended == 0


def _start(argv: list[str], options: Spawn) -> subprocess.Popen[bytes]:
    who = options.identity
    # Until it runs its program a child would answer them as we do: by Python's handlers, with a traceback.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        return subprocess.Popen(  # the hook is a few system calls; only after setuid does PDEATHSIG stay
            argv,
            stdin=options.stdin,
            stdout=options.stdout,
            stderr=options.stderr,
            env=None if options.env is None else dict(options.env),
            cwd=options.cwd,
            start_new_session=options.own_session,
            preexec_fn=_hook(options.death_signal, os.getpid(), before),  # noqa: PLW1509 - it takes no lock
            user=None if who is None else who.uid,
            group=None if who is None else who.gid,
            extra_groups=None if who is None else [],
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hook(death_signal: signal.Signals, owner: int, mask: Iterable[int]) -> Callable[[], None]:
    """What the child does between setuid (which clears the signal for its owner's end) and exec (which keeps it)."""
    number = int(death_signal)

    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != owner:  # the owner died before prctl: no signal would ever come
            os._exit(1)
        for ending in _ENDING:
            if callable(signal.getsignal(ending)):
                signal.signal(ending, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    return prepare
