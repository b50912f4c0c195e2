"""The folder play keeps: one run at a time, passwords that last, and nobody else's files touched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from play_harness import scratch

from helios.play.data_folder import DataFolder, default_folder
from helios.play.errors import PlayError


@pytest.fixture
def path() -> Iterator[Path]:
    """Where a data folder may be made."""
    with scratch() as folder:
        yield folder / "data"


def test_passwords_last_until_fresh(path: Path) -> None:
    first = DataFolder(path)
    password = first.password("app")
    first.close()

    second = DataFolder(path)
    kept = second.password("app")
    second.close()
    third = DataFolder(path, fresh=True)
    renewed = third.password("app")
    third.close()

    assert kept == password
    assert renewed != password
    assert (path / "play.json").stat().st_mode & 0o777 == 0o600


def test_a_folder_in_use_names_its_holder(path: Path) -> None:
    holder = DataFolder(path)

    with pytest.raises(PlayError, match=rf"{path} is in use by a helios play with pid {os.getpid()}; end that one"):
        DataFolder(path, fresh=True)

    holder.close()
    DataFolder(path).close()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_foreign_folder_is_refused_and_left_alone(path: Path, fresh: bool) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("precious")

    with pytest.raises(
        PlayError, match=r"was not made by helios play \(it holds thesis.txt\); choose an empty or a new"
    ):
        DataFolder(path, fresh=fresh)

    assert (path / "thesis.txt").read_text() == "precious"


def test_fresh_keeps_what_play_did_not_make(path: Path) -> None:
    DataFolder(path).close()
    (path / "notes.txt").write_text("mine")

    DataFolder(path, fresh=True).close()

    assert (path / "notes.txt").read_text() == "mine"


def test_a_damaged_state_is_explained(path: Path) -> None:
    DataFolder(path).close()
    (path / "play.json").write_text("{")

    with pytest.raises(PlayError, match=r"play.json cannot be read: .*; start over with --fresh"):
        DataFolder(path)

    DataFolder(path, fresh=True).close()


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(PlayError, match=r"cannot make the data folder /proc/nothing: .*; choose another with --data"):
        DataFolder(Path("/proc/nothing"))


def test_secrets_of_the_last_run_are_gone(path: Path) -> None:
    folder = DataFolder(path)
    folder.write_secrets({"old": {"password": b"x"}})

    folder.write_secrets({"new": {"password": b"y", "users.txt": b"z"}})

    files = {str(file.relative_to(path / "secrets")): file.read_bytes() for file in (path / "secrets").glob("*/*")}
    assert files == {"new/password": b"y", "new/users.txt": b"z"}
    assert {file.stat().st_mode & 0o777 for file in (path / "secrets").glob("*/*")} == {0o600}
    folder.close()


def test_the_default_folder_is_named_after_the_resource() -> None:
    shown = default_folder("shop", {"HOME": "/home/ada", "XDG_STATE_HOME": "/state"})

    assert shown == Path("/var/lib/helios/play/shop" if os.geteuid() == 0 else "/state/helios/play/shop")
