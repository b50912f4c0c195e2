"""Cargo works on a copy of the sources that several clones share, and still builds each clone's own code."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from helios_make.places import Places
from helios_make.rust_workspace import open_workspace

PROGRAM = 'fn main() {{ println!("{word}"); }}\n'


def clone(folder: Path, word: str, age: int) -> Places:
    """A clone with one crate that prints a word, its files `age` seconds old."""
    crate = folder / "proxy" / "crates" / "hello"
    (crate / "src").mkdir(parents=True)
    workspace = folder / "proxy" / "Cargo.toml"
    workspace.write_text('[workspace]\nresolver = "2"\nmembers = ["crates/hello"]\n', encoding="utf-8")
    manifest = crate / "Cargo.toml"
    manifest.write_text('[package]\nname = "hello"\nversion = "0.1.0"\nedition = "2021"\n', encoding="utf-8")
    program = crate / "src" / "main.rs"
    program.write_text(PROGRAM.format(word=word), encoding="utf-8")
    for file in (workspace, manifest, program):
        os.utime(file, (file.stat().st_atime, file.stat().st_mtime - age))
    return Places(root=folder, cache=folder.parent / "cache")


def build_and_run(places: Places) -> tuple[str, bool]:
    """What the clone's program prints, and whether it had to be compiled."""
    with open_workspace(places) as workspace:
        answer = subprocess.run(
            ["cargo", "run", "--offline"],
            cwd=workspace.folder,
            env={**os.environ, **workspace.environment()},
            capture_output=True,
            text=True,
            check=True,
        )
    return answer.stdout.strip(), "Compiling" in answer.stderr


def test_each_clone_gets_its_own_code_also_when_its_files_are_older(tmp_path: Path) -> None:
    younger, older = clone(tmp_path / "younger", "younger", age=0), clone(tmp_path / "older", "older", age=3600)

    assert build_and_run(younger) == ("younger", True)
    assert build_and_run(older) == ("older", True)
    assert build_and_run(younger) == ("younger", True)


def test_clone_with_the_same_sources_compiles_nothing(tmp_path: Path) -> None:
    first, second = clone(tmp_path / "first", "same", age=60), clone(tmp_path / "second", "same", age=0)

    assert build_and_run(first) == ("same", True)
    assert build_and_run(second) == ("same", False)


def test_removed_source_is_gone_from_the_copy(tmp_path: Path) -> None:
    places = clone(tmp_path / "clone", "here", age=0)
    extra = places.root / "proxy" / "crates" / "hello" / "src" / "bin" / "extra.rs"
    extra.parent.mkdir()
    extra.write_text(PROGRAM.format(word="extra"), encoding="utf-8")
    with open_workspace(places) as workspace:
        copied = workspace.folder / extra.relative_to(places.root / "proxy")
        assert copied.is_file()

    extra.unlink()

    with open_workspace(places):
        assert not copied.exists()
