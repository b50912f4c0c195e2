"""requirements/*.txt fit pyproject.toml: all that is asked for is pinned, fits and has hashes; no host is named.

So do the locks of the drivers in other languages; those of Go and Rust have no other form.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from repo.tree import ROOT

DRIVERS = ROOT / "e2e" / "drivers"
BUILT_HERE = {"helios", "helios-core"}


def pins(name: str) -> dict[str, str]:
    """Package → version of one lock."""
    locked = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    return {canonicalize_name(match[0]): match[1] for match in re.findall(r"^([\w.-]+)==([^\s;]+)", locked, re.M)}


def asked_for(extras: Iterable[str], groups: Iterable[str]) -> list[Requirement]:
    """The direct requirements of the project with these extras and groups."""
    with (ROOT / "pyproject.toml").open("rb") as handle:
        tables = tomllib.load(handle)
    lines = list(tables["project"]["dependencies"])
    for extra in extras:
        lines += tables["project"]["optional-dependencies"][extra]
    for group in groups:
        lines += tables["dependency-groups"][group]
    requirements = [Requirement(line) for line in lines]
    return [requirement for requirement in requirements if canonicalize_name(requirement.name) not in BUILT_HERE]


@pytest.mark.parametrize(
    ("lock", "extras", "groups"),
    [
        ("proxy.txt", ["proxy"], []),
        ("operator.txt", ["operator"], []),
        ("dev.txt", ["proxy", "operator", "resources", "play", "tracing"], ["build", "test", "lint"]),
    ],
)
def test_lock_fits_pyproject(lock: str, extras: list[str], groups: list[str]) -> None:
    versions = pins(lock)
    wanted = asked_for(extras, groups)

    unfit = [str(each) for each in wanted if versions.get(canonicalize_name(each.name), "") not in each.specifier]

    assert unfit == [], "run `make lock`"


@pytest.mark.parametrize("lock", ["build.txt", "proxy.txt", "operator.txt"])
def test_images_are_locked_to_the_versions_that_are_tested(lock: str) -> None:
    assert pins(lock).items() <= pins("dev.txt").items()


@pytest.mark.parametrize("lock", ["uv.txt", "build.txt", "proxy.txt", "operator.txt", "dev.txt"])
def test_lock_has_hashes_and_no_host(lock: str) -> None:
    locked = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[\w.-]+==)", locked, flags=re.M)[1:]

    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert "://" not in locked


def test_node_s_lock_has_hashes_and_no_host() -> None:
    packages = json.loads((DRIVERS / "node_postgres" / "package-lock.json").read_text(encoding="utf-8"))["packages"]

    installed = {name: package for name, package in packages.items() if name}

    assert installed
    assert [name for name, package in installed.items() if not package["integrity"].startswith("sha512-")] == []
    assert [name for name, package in installed.items() if "resolved" in package] == []


def test_jars_are_pinned_by_their_hash() -> None:
    lines = (DRIVERS / "pgjdbc" / "jars.txt").read_text(encoding="utf-8").splitlines()

    pinned = [line for line in lines if not line.startswith("#")]

    assert pinned
    assert [line for line in pinned if not re.fullmatch(r"[\w.]+:[\w-]+:[\w.]+ [0-9a-f]{64}", line)] == []
