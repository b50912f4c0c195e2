"""Runtime dependencies carry permissive licences: everything an installed `helios` or its engine contains."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageMetadata, distribution, metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from repo.tree import ROOT

PERMISSIVE = {
    *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0"),
    *(
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "PostgreSQL",
        "PSF-2.0",
        "Unicode-3.0",
        "Unicode-DFS-2016",
        "Unlicense",
        "Zlib",
    ),
}
"""SPDX identifiers we take."""

SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "BSD-3-Clause license": "BSD-3-Clause",
    "MIT License": "MIT",
    "PostgreSQL License": "PostgreSQL",
    "Python Software Foundation License": "PSF-2.0",
}
"""What older metadata calls them."""

OURS = "Apache-2.0"


def is_permissive(expression: str) -> bool:
    """Whether an SPDX expression leaves us a permissive choice: `OR` needs one side, `AND` both."""
    expression = expression.replace("/", " OR ").strip()
    tokens = re.findall(r"\(|\)|[^\s()]+(?: WITH [^\s()]+)?", expression)
    words = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    # Only `and`, `or`, parentheses and constants are left to evaluate.
    return bool(eval(" ".join(words.get(token) or str(token in PERMISSIVE) for token in tokens)))


def python_licence(dist: Distribution) -> str:
    """The licence a distribution declares: the expression, else the classifiers, else the free text's first line."""
    info = dist.metadata
    if "License-Expression" in info:
        return info["License-Expression"]
    classifiers = [
        line.rsplit(" :: ", 1)[-1] for line in info.get_all("Classifier", []) if line.startswith("License ::")
    ]
    names = [name for name in classifiers if name != "OSI Approved"] or _free_text(info)
    return " AND ".join(SPDX.get(name.strip(), name.strip()) for name in names)


def _free_text(info: PackageMetadata) -> list[str]:
    text: str = next(iter(info.get_all("License", [])), "")
    return text.splitlines()[:1] or ["none"]


def runtime_distributions() -> Iterator[Distribution]:
    """Everything that `helios` with all its extras installs on this machine."""
    extras = set(metadata("helios").get_all("Provides-Extra", []))
    waiting = [("helios", extra) for extra in ["", *extras]]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        dist = distribution(name)
        yield dist
        for line in dist.requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                wanted = canonicalize_name(requirement.name)
                waiting += [(wanted, each) for each in ["", *requirement.extras]]


def runtime_crates() -> dict[str, str]:
    """Crate and version → declared licence, for all that is linked into the engine or runs while it is built."""
    triple = re.search(r"^host: (.*)$", _run("rustc", "-vV"), re.M)
    assert triple
    answer = json.loads(
        _run(
            *("cargo", "metadata", "--format-version", "1", "--locked", "--manifest-path", "proxy/Cargo.toml"),
            *("--filter-platform", triple[1]),
        )
    )
    licences = {package["id"]: package for package in answer["packages"]}
    nodes = {node["id"]: node for node in answer["resolve"]["nodes"]}
    waiting, found = list(answer["workspace_members"]), {}
    while waiting:
        package = licences[waiting.pop()]
        if package["id"] in found:
            continue
        found[package["id"]] = f"{package['name']} {package['version']}", package["license"] or "none"
        for dependency in nodes[package["id"]]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return dict(found.values())


def _run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_python_runtime_dependencies_are_permissive() -> None:
    licences = {dist.name: python_licence(dist) for dist in runtime_distributions()}

    assert {"aiohttp", "asyncpg", "pydantic"} <= licences.keys()
    assert {name: licence for name, licence in licences.items() if not is_permissive(licence)} == {}


def test_rust_dependencies_are_permissive() -> None:
    licences = runtime_crates()

    assert len(licences) > 10
    assert {name: licence for name, licence in licences.items() if not is_permissive(licence)} == {}


def test_our_own_packages_say_apache() -> None:
    with (ROOT / "pyproject.toml").open("rb") as handle:
        project = tomllib.load(handle)["project"]

    assert project["license"] == OURS
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert {
        name for name, licence in runtime_crates().items() if name.startswith("helios-") and licence != OURS
    } == set()


def test_copyleft_is_recognised() -> None:
    assert not is_permissive("LGPL-3.0-only")
    assert not is_permissive("MIT AND GPL-2.0-or-later")
    assert not is_permissive("none")
    assert is_permissive("MIT OR GPL-2.0-or-later")
    assert is_permissive("Unlicense/MIT")
    assert is_permissive("(MIT OR Apache-2.0) AND Unicode-3.0")
