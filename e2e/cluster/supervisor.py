"""The process that owns all daemons of a cluster: starts and stops them on request, reaps, and takes them with it.

Started as a script by `control.start_supervisor`, on a node as the first process of its namespaces; only the standard
library, all of it imported before the node's file system changes. It listens on a socket in the cluster's folder:
one connection a request, one JSON object each way, and does nothing by itself.

    {"start": name, "command": […], "log": file} → {"pid": n}      {"stop": name} → {"status": n}
    {"run": [[…], …]} → {"status": n, "output": text}, of the first command that fails, else the last
    {"status": true} → {name: null or exit status, …}              {"end": true} → it ends
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["Supervisor", "main"]

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def die_with_parent() -> None:
    """In a child, before its program runs: the kernel kills it when the supervisor is gone, whatever ended that."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Supervisor:
    """The daemons by name, and whether they run."""

    def __init__(self) -> None:
        self.pids: dict[str, int] = {}
        self.statuses: dict[int, int] = {}
        """Exit status by process id, of daemons that ended."""

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what one request asks for."""
        match request:
            case {"start": name, "command": command, "log": log}:
                return {"pid": self.start(name, command, log)}
            case {"stop": name}:
                return {"status": self.stop(name)}
            case {"run": commands}:
                return run(commands)
            case {"status": True}:
                self.reap()
                return {name: self.statuses.get(pid) for name, pid in self.pids.items()}
            case {"end": True}:
                self.end()
                return {}
        raise ValueError(f"unknown request: {sorted(request)}")

    def start(self, name: str, command: Sequence[str], log: str) -> int:
        """Start a daemon in a session of its own; its output is appended to a log."""
        with Path(log).open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 – this process has one thread
            )
        # Reaped by `reap` only: Popen must not wait for it when it is collected.
        process.returncode = 0
        self.pids[name] = process.pid
        return process.pid

    def stop(self, name: str) -> int:
        """Kill a daemon as a crash would; its exit status."""
        pid = self.pids.pop(name)
        if pid not in self.statuses:
            os.kill(pid, signal.SIGKILL)
            self.statuses[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return self.statuses.pop(pid)

    def reap(self) -> None:
        """Collect every child that ended; as the first process of a node also what others left behind."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
                self.statuses[ended[0]] = os.waitstatus_to_exitcode(ended[1])
        except ChildProcessError:
            return
        known = set(self.pids.values())
        for pid in self.statuses.keys() - known:
            del self.statuses[pid]

    def end(self) -> None:
        """Kill all daemons."""
        for name in list(self.pids):
            self.stop(name)


def run(commands: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Run commands one after the other until one fails."""
    output = ""
    for command in commands:
        answer = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        output = answer.stdout + answer.stderr
        if answer.returncode != 0:
            return {"status": answer.returncode, "output": f"{' '.join(command)}: {output.strip()}"}
    return {"status": 0, "output": output}


def serve(supervisor: Supervisor, listener: socket.socket, *, owned: bool) -> None:
    """Answer requests until one asks to end, or until the owner's end of our stdin is closed."""
    ended, waker = os.pipe()
    for end in (ended, waker):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    waiting = [listener.fileno(), ended, *([sys.stdin.fileno()] if owned else [])]
    while True:
        ready = select.select(waiting, [], [])[0]
        if ended in ready:
            os.read(ended, 4096)
            supervisor.reap()
        if owned and sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 1):
            return
        if listener.fileno() in ready and serve_one(supervisor, listener):
            return


def serve_one(supervisor: Supervisor, listener: socket.socket) -> bool:
    """Answer one connection; whether it asked to end. A request that fails is answered with the reason."""
    connection, _ = listener.accept()
    with connection:
        line = connection.makefile("r", encoding="utf-8").readline()
        if not line:
            # Somebody only wanted to know whether we are here.
            return False
        request = json.loads(line)
        try:
            reply = supervisor.answer(request)
        except (OSError, KeyError, ValueError) as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        try:
            connection.sendall(json.dumps(reply).encode() + b"\n")
        except BrokenPipeError:
            # The asker has gone; nothing is left to tell.
            return "end" in request
    return "end" in request


def main(arguments: Sequence[str]) -> None:
    """`supervisor.py SOCKET [owned]`; with `owned` it ends when its stdin is closed."""
    path, owned = arguments[0], "owned" in arguments[1:]
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    supervisor = Supervisor()
    with socket.socket(socket.AF_UNIX) as listener:
        # Bound under another name first: who sees the socket can connect to it.
        listener.bind(f"{path}.new")
        listener.listen()
        Path(f"{path}.new").rename(path)
        try:
            serve(supervisor, listener, owned=owned)
        finally:
            supervisor.end()


if __name__ == "__main__":
    main(sys.argv[1:])
