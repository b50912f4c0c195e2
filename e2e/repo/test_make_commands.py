"""The Makefile hands its variables over as they were typed, and says how it is used."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from repo.tree import ROOT

ECHO = '#!/bin/sh\nprintf "%s\\n" "$1" "cmd=$HELIOS_CMD" "file=$HELIOS_FILE" "select=$HELIOS_SELECT"\n'


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the project's Makefile in a folder of its own."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "HELIOS_"))}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, env=env | variables, capture_output=True, text=True, check=False)


def copied_makefile(folder: Path) -> Path:
    """The Makefile beside a `.make/run` that prints what it was given."""
    shutil.copy(ROOT / "Makefile", folder)
    script = folder / ".make" / "run"
    script.parent.mkdir()
    script.write_text(ECHO, encoding="utf-8")
    script.chmod(0o755)
    return folder


def test_command_arrives_as_it_was_typed(tmp_path: Path) -> None:
    command = """psql -c 'select $$a b$$, "c"' "$PGDATABASE" $(echo x) $@ \\n # no comment"""

    answer = make(copied_makefile(tmp_path), "run", f"CMD={command}", "FILE=examples/a b")

    assert answer.stdout.splitlines() == ["run", f"cmd={command}", "file=examples/a b", "select="]


def test_command_may_come_from_the_environment(tmp_path: Path) -> None:
    answer = make(copied_makefile(tmp_path), "run", CMD="echo $HOME")

    assert "cmd=echo $HOME" in answer.stdout.splitlines()


def test_make_alone_lists_the_targets() -> None:
    answer = make(ROOT)

    assert answer.returncode == 0
    kubernetes = ("e2e", "cluster", "cluster-down", "images")
    others = ("run", "test", "lint", "generate", "generate-check", "bench", "fuzz", "doctor", "clean")
    for target in (*others, *kubernetes):
        assert f"\n  {target} " in answer.stdout


def test_unknown_target_is_refused() -> None:
    command = [str(ROOT / ".make" / "run"), "nonsense"]

    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert answer.returncode == 2
    assert "one of run test drivers e2e" in answer.stderr


def test_file_that_does_not_exist_is_named() -> None:
    answer = make(ROOT, "run", "FILE=examples/none")

    assert answer.returncode != 0
    assert "FILE=examples/none: no such file or folder; try FILE=examples/01-minimal" in answer.stderr
    assert answer.stdout == ""
