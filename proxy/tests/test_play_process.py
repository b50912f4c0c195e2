"""helios.play.process: ports, folders closed to another user, and children that end with us."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from play_harness import scratch

from harness.wait import until
from helios.play.errors import PlayError
from helios.play.folders import open_folder, write_private
from helios.play.process import Identity, Spawn, free_port, hidden_folder, is_alive, next_free_port, run, spawn

STRANGER = Identity("stranger", 4_000_000, 4_000_000)


def test_the_next_free_port_passes_over_taken_ones() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1]

        assert next_free_port(wanted) > wanted
        with pytest.raises(PlayError, match=rf"no free port on 127.0.0.1 from {wanted} to {wanted}"):
            next_free_port(wanted, tries=1)


def test_a_free_port_is_taken_as_wanted() -> None:
    port = free_port()

    assert next_free_port(port) == port


def test_the_closed_parent_of_a_folder_is_found() -> None:
    with scratch() as folder:
        closed = folder / "closed"
        closed.mkdir(mode=0o700)

        assert hidden_folder(closed / "data", STRANGER) == closed
        assert hidden_folder(folder / "data", STRANGER) is None
        assert hidden_folder(closed / "data", None) is None
        assert hidden_folder(closed / "data", Identity("us", os.geteuid(), os.getegid())) is None


def test_a_closed_data_folder_is_refused_with_a_remedy() -> None:
    with scratch() as folder:
        closed = folder / "closed"
        closed.mkdir(mode=0o700)
        identity = Identity("stranger", os.geteuid() + 1, 4_000_000) if os.geteuid() == 0 else STRANGER
        refusal = rf"user stranger, who may not enter {closed}; choose another folder with --data"

        with pytest.raises(PlayError, match=f"{refusal}|Operation not permitted"):
            open_folder(closed / "data", identity)


def test_a_private_file_is_ours_alone_and_replaced_whole() -> None:
    with scratch() as folder:
        write_private(folder / "secret", b"first")
        write_private(folder / "secret", b"second")

        assert (folder / "secret").read_bytes() == b"second"
        assert (folder / "secret").stat().st_mode & 0o777 == 0o600
        assert [path.name for path in folder.iterdir()] == ["secret"]


def test_a_refused_write_names_the_file_and_the_cause() -> None:
    with pytest.raises(PlayError, match=r"cannot write /dev/full/x: Not a directory"):
        write_private(Path("/dev/full/x"), b"x")


def test_run_gives_output_and_status() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], Spawn())

    assert (done.returncode, done.stdout) == (3, "out\nerr\n")


def test_run_kills_what_takes_too_long() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run(["sleep", "600"], Spawn(), timeout=0.2)


def test_spawn_reports_a_missing_program() -> None:
    with pytest.raises(FileNotFoundError):
        spawn(["/nonexistent/program"], Spawn())


def test_a_child_ends_with_its_killed_parent() -> None:
    parent = (
        "import time; from helios.play.process import Spawn, spawn\n"
        "print(spawn(['sleep', '600'], Spawn()).pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        assert is_alive(child)

        owner.kill()

    until(lambda: not is_alive(child), "the end of the child")


ENDED_EARLY = """
import os, signal, sys, threading, time
from helios.play.process import Spawn, children_of, spawn

def end():
    while not (children := children_of(os.getpid())):
        pass
    os.kill(children[0], signal.SIGTERM)

signal.signal(signal.SIGTERM, lambda *_: sys.exit("our own handler"))
os.register_at_fork(after_in_child=lambda: time.sleep(1))
threading.Thread(target=end).start()
with spawn(["sleep", "60"], Spawn()) as child:
    print(child.wait())
"""


def test_a_child_that_is_ended_before_it_runs_its_program_ends_without_our_handlers() -> None:
    done = subprocess.run([sys.executable, "-c", ENDED_EARLY], capture_output=True, text=True, timeout=50, check=False)

    assert (done.stdout, done.stderr) == ("-15\n", "")
