"""The other end of the supervisor's socket: start one, give it daemons, ask how they are. Called by the levels."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.plan.daemons import Daemon

__all__ = ["Control", "await_condition", "start_supervisor"]

POLL_SECONDS = 0.02
CALL_SECONDS = 60.0
"""Longest that one request may take."""
LOG_LINES = 12
SUPERVISOR = Path(__file__).with_name("supervisor.py")
SOCKET = "control.sock"
SOCKET_PATH_LIMIT = 104
"""Bytes of the path of a UNIX socket that the kernel takes, less what the supervisor appends at first."""


class Control:
    """Daemons of the cluster in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / SOCKET
        if len(bytes(self.path)) > SOCKET_PATH_LIMIT - len(".new"):
            raise ClusterError(f"{self.path}: too long for a socket; set HELIOS_CACHE to a shorter path")

    def alive(self) -> bool:
        """Whether the supervisor listens; it may be busy."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self.path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request and its reply.

        Raises:
            ClusterError: nobody answers, or the supervisor could not do it.
        """
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(CALL_SECONDS)
                connection.connect(str(self.path))
                connection.sendall(json.dumps(request).encode() + b"\n")
                line = connection.makefile("r", encoding="utf-8").readline()
        except OSError as error:
            raise ClusterError(f"{self.folder.name}: the supervisor does not answer ({error})") from error
        if not line:
            raise ClusterError(f"{self.folder.name}: the supervisor ended")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ClusterError(f"{self.folder.name}: {next(iter(request))}: {reply['error']}")
        return reply

    def start(self, daemon: Daemon) -> int:
        """Start a daemon, its log beside the others; its process id as the supervisor sees it."""
        # Relative to the supervisor's folder, which is the cluster's, by whatever path the daemons see that.
        log = f"logs/{daemon.name}.log"
        pid: int = self.call({"start": daemon.name, "command": list(daemon.command), "log": log})["pid"]
        return pid

    def stop(self, name: str) -> None:
        """Kill a daemon and wait until it is gone."""
        self.call({"stop": name})

    def run(self, commands: Sequence[Sequence[str]]) -> str:
        """Run commands where the daemons run; the output of the last.

        Raises:
            ClusterError: one failed; the text names it and what it wrote.
        """
        reply = self.call({"run": [list(command) for command in commands]})
        if reply["status"] != 0:
            raise ClusterError(f"{self.folder.name}: {reply['output']}")
        return str(reply["output"])

    def wait(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Poll a condition; ends early, with the end of its log, when a daemon has ended.

        Raises:
            ClusterError: a daemon ended, or the condition did not come true in time.
        """

        def met() -> bool:
            if condition():
                return True
            ended = {name: status for name, status in self.call({"status": True}).items() if status is not None}
            for name, status in ended.items():
                raise ClusterError(f"{name} ended with status {status}\n{self.log_tail(name)}")
            return False

        try:
            await_condition(met, what, seconds)
        except TimeoutError as error:
            # All of them, since the folder goes with a cluster that does not come up.
            tails = [f"  {log.stem}:\n{self.log_tail(log.stem, 4)}" for log in sorted(self.logs.iterdir())]
            raise ClusterError("\n".join([f"{self.folder.name}: {error}", *tails])) from error

    @property
    def logs(self) -> Path:
        """One file for each daemon."""
        return self.folder / "logs"

    def log_tail(self, name: str, count: int = LOG_LINES) -> str:
        """The last lines of a daemon's log."""
        lines = (self.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line[:300]}" for line in lines[-count:])


def start_supervisor(control: Control, prefix: Sequence[str], *, owned: bool) -> subprocess.Popen[bytes]:
    """Start the supervisor in the cluster's folder.

    Args:
        control: where it shall listen.
        prefix: a command that it is started by, such as `unshare …`.
        owned: whether the cluster ends with this process; else it stays until somebody ends it.
    """
    command = [*prefix, sys.executable, "-I", "-B", str(SUPERVISOR), str(control.path), *(["owned"] if owned else [])]
    with (control.logs / "supervisor.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=control.folder,
            env=environment(),
            stdin=subprocess.PIPE if owned else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def listening() -> bool:
        if process.poll() is not None:
            raise ClusterError(
                f"the supervisor ended with status {process.returncode}\n{control.log_tail('supervisor')}"
            )
        return control.path.exists()

    await_condition(listening, "the supervisor listens", CALL_SECONDS)
    return process


def environment() -> dict[str, str]:
    """What daemons inherit: no proxy, since all they call is here; and the folders of programs that only root calls."""
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    env["PATH"] = f"{env.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    return env


def await_condition(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Poll until a condition is true.

    Raises:
        TimeoutError: it was not within `seconds`.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(POLL_SECONDS)
