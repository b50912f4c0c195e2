"""The provider as it is released: a zip with a program that needs no Python, checked and put into a mirror."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.resources import Shop
from harness.terraform import Project
from helios_make.places import find_places
from helios_make.provider import release_folder


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = release_folder(find_places())
    if not folder.is_dir():
        pytest.skip("the release is not there; make test-terraform builds it")
    return shutil.copytree(folder, tmp_path / "release")


def install(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "helios_terraform", "install", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_released_provider_is_installed_and_needs_no_python(
    project: Project, shop: Shop, release: Path, tmp_path: Path
) -> None:
    installed = install("--mirror", str(tmp_path / "mirror"), "--from", str(release))
    assert installed.returncode == 0, installed.stderr
    config = tmp_path / "released.tfrc"
    config.write_text("\n".join(line for line in installed.stdout.splitlines() if not line.startswith("helios:")))
    released = replace(project, cli=replace(project.cli, config=config))
    released.environment = {"PATH": "/nowhere", "PYTHONPATH": "/nowhere"}
    released.write(
        'resource "heliosproxy_pool_profile" "p" {\n  name = "fast"\n  max_pool_size = 5\n'
        '  wait_for_ready = "false"\n}\n'
    )

    released.apply()

    assert shop.names("PoolProfile") == {"fast"}
    assert released.changes() == {}
    lock = (released.folder / ".terraform.lock.hcl").read_text()
    assert "h1:" in lock
    # Unpacked from the zip, whole: the program and what it brings along.
    assert [each.name for each in released.folder.rglob("_internal")] == ["_internal"]


def test_a_release_that_is_not_what_its_sums_say_is_refused(release: Path, tmp_path: Path) -> None:
    listed = sorted(line.split()[1] for line in next(release.glob("*_SHA256SUMS")).read_text().splitlines())
    assert listed == sorted(each.name for each in release.iterdir() if not each.name.endswith("SHA256SUMS"))
    archive = next(release.glob("*.zip"))
    archive.write_bytes(archive.read_bytes() + b"x")

    refused = install("--mirror", str(tmp_path / "mirror"), "--from", str(release))
    empty = install("--mirror", str(tmp_path / "mirror"), "--from", str(tmp_path))

    assert refused.returncode == 1
    assert f"{archive.name} is missing or not what" in refused.stderr
    assert empty.returncode == 1
    assert "holds no release" in empty.stderr
    assert not (tmp_path / "mirror").exists()
