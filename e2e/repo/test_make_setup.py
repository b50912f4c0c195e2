"""The set-up behind the targets: failing steps, stamps, clones that share a cache, what the doctor says."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from helios_make import doctor
from helios_make.errors import StepFailed, TargetError
from helios_make.places import Places, find_places
from helios_make.stamps import digest, is_current, write_stamp
from helios_make.steps import Step, run_step
from repo.tree import ROOT


@pytest.fixture
def somewhere(tmp_path: Path) -> Places:
    """A clone and a cache of the test's own."""
    clone = tmp_path / "clone"
    clone.mkdir()
    found = Places(root=clone, cache=tmp_path / "cache")
    found.prepare()
    return found


def test_failing_step_shows_the_end_of_its_log_and_how_to_repeat_it(somewhere: Places) -> None:
    step = Step("Count to fifty", ["sh", "-c", "seq 1 50; exit 3"], seconds=1)

    with pytest.raises(StepFailed) as failure:
        run_step(somewhere, step)

    lines = str(failure.value).splitlines()
    assert lines[0] == "Count to fifty: failed with status 3"
    assert [line.strip() for line in lines[1:21]] == [str(number) for number in range(31, 51)]
    log = Path(lines[21].split()[1])
    assert log.read_text(encoding="utf-8").splitlines()[0] == "1"
    repeat = lines[22].removeprefix("  repeat: ")
    again = subprocess.run(["sh", "-c", repeat], capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (3, "50")


def test_step_says_what_to_expect_and_writes_nothing_to_stdout(
    somewhere: Places, capfd: pytest.CaptureFixture[str]
) -> None:
    run_step(somewhere, Step("Print", ["echo", "noise"], seconds=7, megabytes=30))

    out, err = capfd.readouterr()
    assert out == ""
    assert "helios: Print (about 7 s, about 30 MB)" in err


def test_missing_program_is_named(somewhere: Places) -> None:
    with pytest.raises(StepFailed, match=r"Nothing: cannot start no-such-program: No such file"):
        run_step(somewhere, Step("Nothing", ["no-such-program"], seconds=1))


def test_step_s_environment_has_no_trace_of_make(somewhere: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEFLAGS", " -- CMD=x")
    monkeypatch.setenv("HELIOS_CMD", "x")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")

    env = somewhere.environment()

    assert not {"MAKEFLAGS", "HELIOS_CMD", "PYTHONPATH"} & env.keys()
    assert env["PATH"].startswith(f"{somewhere.venv}/bin:")


def test_digest_follows_content_and_place(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("1", encoding="utf-8")
    first = digest(tmp_path, [file], "rustc 1")
    moved = tmp_path / "b"
    shutil.copy(file, moved)

    assert digest(tmp_path, [file], "rustc 1") == first
    assert digest(tmp_path, [file], "rustc 2") != first
    assert digest(tmp_path, [moved], "rustc 1") != first
    file.write_text("2", encoding="utf-8")
    assert digest(tmp_path, [file], "rustc 1") != first


def test_stamp_is_current_for_its_key_only(tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    assert not is_current(stamp, "a")

    write_stamp(stamp, "a")

    assert is_current(stamp, "a")
    assert not is_current(stamp, "b")


def test_two_clones_share_a_cache_and_a_deleted_one_leaves_it(somewhere: Places) -> None:
    other = Places(root=somewhere.root.parent / "other" / "clone", cache=somewhere.cache)
    other.root.mkdir(parents=True)
    other.prepare()
    assert somewhere.own != other.own

    shutil.rmtree(other.root)
    somewhere.prepare()

    assert not other.own.exists()
    assert somewhere.own.exists()


def test_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file", encoding="utf-8")

    with pytest.raises(TargetError, match=r"cache .*/cache: cannot be written .* set HELIOS_CACHE"):
        Places(root=tmp_path, cache=tmp_path / "cache").prepare()


def test_cache_is_chosen_by_the_environment_else_by_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HELIOS_CACHE", str(tmp_path))
    assert find_places() == Places(root=ROOT, cache=tmp_path)

    monkeypatch.delenv("HELIOS_CACHE")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert find_places().cache == Path("/home/somebody/.cache/helios")


def test_target_ends_with_one_remedy_a_line_when_a_tool_is_missing(tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path), "HELIOS_PYTHON": sys.executable, "HELIOS_CACHE": str(tmp_path / "cache")}
    (tmp_path / "dirname").symlink_to(shutil.which("dirname") or "dirname")

    answer = subprocess.run(
        ["/bin/sh", ROOT / ".make" / "run", "lint"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )

    assert answer.returncode == 1
    assert "helios: this machine is not ready:\n  cargo: cargo not found → install Rust" in answer.stderr
    assert "\n  cc: cc not found → install a C compiler" in answer.stderr


def test_doctor_names_a_taken_port(somewhere: Places, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", 6432))
            holder.listen()
        except OSError:
            # Somebody else holds it, which the doctor must say just as well.
            holder.close()
        fatal = doctor.examine(somewhere, ["ports"])

    assert fatal == 0
    assert "6432" in (line := capsys.readouterr().out)
    assert "taken → `make run` takes the next free port" in line
