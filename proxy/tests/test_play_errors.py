"""What `helios play` says when something cannot be had: one clear sentence, status 1, and nothing left running."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from play_harness import Play, playing, proxy_yaml, run_play, scratch, secret_yaml, write_yaml

from harness.wait import until
from helios.play.errors import PlayError
from helios.play.manifest import read_manifest
from helios.play.process import free_port
from helios.play.proxy import ProxyProcess
from helios_crds.placement import Placement


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for the YAML, the data and the output of one test."""
    with scratch() as path:
        yield path


def refused(play: Play) -> str:
    """What play said last, having ended with status 1 and nothing on stdout."""
    assert play.process.returncode == 1, play.stderr
    assert play.stdout == ""
    assert "Traceback" not in play.stderr
    lines = [line for line in play.stderr.splitlines() if line.startswith("helios play: ")]
    return "\n".join(line.removeprefix("helios play: ") for line in lines)


def test_a_missing_file_ends_before_anything_is_made(folder: Path) -> None:
    play = run_play(folder, "-f", folder / "none.yaml", "--data", folder / "data", command=["true"])

    assert refused(play) == f"{folder}/none.yaml: cannot be read: No such file or directory"
    assert not (folder / "data").exists()


def test_a_missing_reference_ends_before_a_server_is_started(folder: Path) -> None:
    file = write_yaml(folder / "proxy.yaml", proxy_yaml({"auth": {"usersSecretRef": {"name": "users"}}}))

    play = run_play(folder, "-f", file, "--data", folder / "data", command=["true"])

    what = "spec.auth.usersSecretRef: Secret/users is not among the given files; add its file with -f"
    assert refused(play) == f"{file}:1: {what}"
    assert not (folder / "data" / "clusters").exists()


def test_a_damaged_users_file_is_named(folder: Path) -> None:
    spec = {"auth": {"usersSecretRef": {"name": "users"}}}
    file = write_yaml(folder / "proxy.yaml", proxy_yaml(spec), secret_yaml("users", **{"users.txt": "alice: secret"}))

    play = run_play(folder, "-f", file, "--data", folder / "data", command=["true"])

    place = f"{folder}/data/secrets/users/users.txt:1: auth.users_file"
    assert f"{place}: is no user and secret" in refused(play)


def test_an_unreachable_node_is_named(folder: Path) -> None:
    port = free_port()
    spec = {"nodes": [{"host": "127.0.0.1", "port": port}], "auth": {"method": "trust"}}
    manifest = read_manifest([write_yaml(folder / "proxy.yaml", proxy_yaml(spec))])
    config = manifest.render(Placement.local(PurePosixPath(folder)), {}).config
    assert config is not None
    proxy = ProxyProcess.start(config, folder / "helios.toml", folder / "helios.log")

    try:
        until(lambda: any(node["last_error"] for node in proxy.get("/nodes")[1] or ()), "a failed poll", 60)
        with pytest.raises(PlayError, match=rf"not ready after 0.1 s: no primary in main.*127.0.0.1:{port}: .*refused"):
            proxy.wait_ready(seconds=0.1)
    finally:
        proxy.stop()


def test_an_unknown_command_gives_the_status_of_a_shell(folder: Path) -> None:
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())

    play = run_play(folder, "-f", file, "--data", folder / "data", command=["no-such-program"])

    assert play.process.returncode == 127
    assert play.stderr == "helios play: cannot run 'no-such-program': no such program in PATH\n"


def test_a_data_folder_that_postgres_may_not_reach_is_named(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())

    play = run_play(folder, "-f", file, "--data", closed / "data", command=["true"])

    if os.geteuid() != 0:  # PostgreSQL then runs as ourselves, and the folder is ours
        assert play.process.returncode == 0, play.stderr
        return
    assert re.search(rf"PostgreSQL runs as user \w+, who may not enter {closed}; choose another folder", refused(play))


def test_a_full_disk_is_named(folder: Path) -> None:
    disk = folder / "disk"
    disk.mkdir()
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())
    mounted = os.geteuid() == 0 and _mount(disk)
    limited = [] if mounted else ["prlimit", "--fsize=100000", "--"]  # without root: no file above 100 kB

    try:
        play = run_play(folder, "-f", file, "--data", disk / "data", command=["true"], wrapper=limited)
    finally:
        if mounted:
            subprocess.run(["umount", str(disk)], check=True, timeout=30)

    said = refused(play)
    assert "initdb for `node-1`" in said
    assert not mounted or "no space is left on the disk that holds this folder" in said


def test_a_disk_that_is_full_from_the_start_is_named(folder: Path) -> None:
    disk = folder / "disk"
    disk.mkdir()
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())
    mounted = os.geteuid() == 0 and _mount(disk)
    limited = [] if mounted else ["prlimit", "--fsize=0", "--"]

    try:
        if mounted:
            subprocess.run(["sh", "-c", f"cat /dev/zero >{disk}/filling 2>/dev/null || true"], check=True, timeout=30)
        play = run_play(folder, "-f", file, "--data", disk / "data", command=["true"], wrapper=limited)
    finally:
        if mounted:
            subprocess.run(["umount", str(disk)], check=True, timeout=30)

    said = play.stderr if limited else refused(play)
    assert not mounted or re.search(
        rf"cannot (write|make the (data )?folder) {disk}/data.*: No space left on device", said
    )
    assert play.process.returncode != 0


def _mount(folder: Path) -> bool:
    """Put a disk of 8 MB on `folder`; False where that is not permitted."""
    if shutil.which("mount") is None:
        return False
    words = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", str(folder)]
    return subprocess.run(words, check=False, capture_output=True, timeout=30).returncode == 0


def test_the_end_of_helios_is_told(folder: Path) -> None:
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())

    with playing(folder, "-f", file, "--data", folder / "data") as play:
        serve = [pid for pid in play.known if b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
        assert len(serve) == 1
        os.kill(serve[0], 9)
        play.process.wait(30)

    assert "helios serve has ended with status -9" in refused(play)
    play.assert_nothing_left(seconds=0.1)
