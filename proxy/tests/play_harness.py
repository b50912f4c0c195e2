"""Run the real `helios play` in tests: scratch folders that PostgreSQL's user can reach, YAML, a process to watch.

Called by the test_play_*.py files. Every process is ended by its pid, and its descendants are looked for by theirs.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.wait import until
from helios.play.process import children_of, is_alive, next_free_port

DEADLINE = 60.0
READY = "is ready after"
MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 << 30
PORTS = (20000, 32000)
"""Below the ports that the kernel gives to clients, which take any port near a given one at any time."""


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A new folder that every user may enter; removed at the end. pytest's tmp_path is closed to PostgreSQL's user.

    In memory where there is room for it: `helios play` syncs what it keeps, and a busy disk takes seconds for that.
    """
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES
    folder = Path(tempfile.mkdtemp(prefix="helios-play-test-", dir=MEMORY if in_memory else None))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def proxy_yaml(spec: Mapping[str, Any] | None = None, name: str = "tested") -> dict[str, Any]:
    """A HeliosProxy on free ports."""
    listen = next_free_port(random.randrange(*PORTS, 8))
    ports = {"listenPort": listen, "adminPort": next_free_port(listen + 4)}
    return {
        "apiVersion": "helios.heliosproxy.dev/v1alpha1",
        "kind": "HeliosProxy",
        "metadata": {"name": name},
        "spec": {**ports, **(spec or {})},
    }


def secret_yaml(name: str, **data: str) -> dict[str, Any]:
    """A Secret with plain text in stringData."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def write_yaml(file: Path, *documents: Mapping[str, Any]) -> Path:
    """Write documents (as JSON, which YAML includes) to a file; returns it."""
    file.write_text("\n---\n".join(json.dumps(document) for document in documents))
    return file


def descendants(pid: int) -> set[int]:
    """Every living process below `pid`."""
    found: set[int] = set()
    for child in children_of(pid):
        found |= {child} | descendants(child)
    return {process for process in found if is_alive(process)}


@dataclass
class Play:
    """A started `helios play`. `known` are the descendants seen so far."""

    process: subprocess.Popen[bytes]
    stdout_file: Path
    stderr_file: Path
    known: set[int]

    @property
    def stdout(self) -> str:
        """What the command wrote."""
        return self.stdout_file.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What play (and the command) said."""
        return self.stderr_file.read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        """Until `text` stands on stderr; AssertionError when play ends without it."""

        def seen() -> bool:
            if text in self.stderr:
                return True
            assert self.process.poll() is None, f"play ended with {self.process.returncode}:\n{self.stderr}"
            return False

        until(seen, f"{text!r} on the stderr of play", DEADLINE)
        self.known |= descendants(self.process.pid)

    def dsn(self) -> str:
        """The DSN that play prints."""
        match = re.search(r"^  DSN +(\S+)$", self.stderr, re.MULTILINE)
        assert match, self.stderr
        return match.group(1)

    def admin(self) -> str:
        """The admin URL that play prints."""
        match = re.search(r"^  admin +(\S+)$", self.stderr, re.MULTILINE)
        assert match, self.stderr
        return match.group(1)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.known |= descendants(self.process.pid)
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def assert_nothing_left(self, seconds: float = 10) -> None:
        """Every descendant ever seen is gone."""
        assert self.known, "no descendant was ever seen"
        until(lambda: not [pid for pid in self.known if is_alive(pid)], f"the end of {self.known}", seconds)


@contextlib.contextmanager
def playing(
    folder: Path, *arguments: str | Path, command: Sequence[str] = (), wrapper: Sequence[str] = (), ready: bool = True
) -> Iterator[Play]:
    """Start `helios play ARGUMENTS [-- COMMAND]` in `folder`, where its output goes too; killed if it still runs.

    `ready`: wait until it says that everything runs. `wrapper`: words put before the command line.
    """
    words = [*wrapper, sys.executable, "-m", "helios", "play", *map(str, arguments)]
    words += ["--", *command] if command else []
    output = Path(tempfile.mkdtemp(prefix="output-", dir=folder))
    out, err = output / "stdout", output / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=folder)
    play = Play(process, out, err, set())
    try:
        if ready:
            play.wait_for(READY)
        yield play
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(DEADLINE)


def run_play(folder: Path, *arguments: str | Path, command: Sequence[str] = (), wrapper: Sequence[str] = ()) -> Play:
    """Run `helios play` to its end; its status is in `process.returncode`."""
    with playing(folder, *arguments, command=command, wrapper=wrapper, ready=False) as play:
        play.process.wait(DEADLINE)
    return play


def user_of(pid: int) -> int:
    """The effective user id of a process."""
    return Path(f"/proc/{pid}").stat().st_uid


def program_of(pid: int) -> str:
    """The name of the program that a process runs."""
    return Path(f"/proc/{pid}/exe").readlink().name
