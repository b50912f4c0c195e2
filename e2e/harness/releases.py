"""Two releases of one product, for tests of what happens between them: an older tree of this repository's history, and
the present one as the release after it. Nothing was released yet, so the test does what a release would: the older
tree's keys are recorded under its version, and the present tree gets the next number.

Called by e2e/kubernetes. A clone without that history has no older tree.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from helios_crds.since import Version, parse_version
from helios_crds.since_record import record_text
from helios_make.images import IMAGES
from helios_make.places import find_places

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("proxy/src", "crds/src", "operator/src")
BROUGHT = "proxy/src/helios/config/peers.py"
"""What the older tree lacks: a section of helios.toml that the operator writes for every proxy."""
PROXY = IMAGES[0]
KEYS = """
import json, runpy, sys, helios
from helios.config import ProxyConfig
print(json.dumps([helios.__version__, *runpy.run_path(sys.argv[1])["keys_of"](ProxyConfig)]))
"""


class NoHistory(Exception):
    """This clone does not reach back far enough."""


@dataclass(frozen=True)
class Release:
    """One tree under one version."""

    root: Path
    version: str

    @property
    def image(self) -> str:
        """What a pod names."""
        return f"localhost/{PROXY.name}:{self.version}"

    @property
    def environment(self) -> Mapping[str, str]:
        """For a process that is to run this tree's Python instead of the clone's."""
        return {"PYTHONPATH": os.pathsep.join(str(self.root / folder) for folder in SOURCES)}


def older_release() -> Release:
    """The tree before `BROUGHT` came, below the cache. Raises NoHistory."""
    commit = git("log", "--diff-filter=A", "--format=%H", "--", BROUGHT).split()
    parent = git("rev-parse", "--verify", "--quiet", f"{commit[-1]}^").strip() if commit else ""
    if not parent or git("ls-tree", parent, "--", BROUGHT):
        raise NoHistory(f"this clone's history does not reach back to before {BROUGHT}: `git fetch --unshallow`")
    folder = find_places().cache / "older" / parent[:12]
    if not folder.is_dir():
        partial = folder.with_suffix(f".{os.getpid()}")
        partial.mkdir(parents=True)
        packed = subprocess.run(["git", "archive", parent], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as tree:
            tree.extractall(partial, filter="data")
        partial.rename(folder)
    return Release(folder, keys_of(folder)[0])


def next_release(older: Release, folder: Path) -> Release:
    """A copy of the present tree's Python as the release after `older`, with its keys recorded."""
    for source in SOURCES:
        shutil.copytree(ROOT / source, folder / source, ignore=shutil.ignore_patterns("__pycache__"))
    before = parse_version(older.version)
    assert before is not None
    after: Version = (before[0], before[1] + 1, 0)
    known = {**dict.fromkeys(keys_of(ROOT)[1:], after), **dict.fromkeys(keys_of(older.root)[1:], before)}
    made = Release(folder, ".".join(map(str, after)))
    (folder / "crds/src/helios_crds/since.toml").write_text(record_text(known, made.version))
    init = folder / "proxy/src/helios/__init__.py"
    init.write_text(init.read_text().replace(f'"{keys_of(ROOT)[0]}"', f'"{made.version}"'))
    return made


def keys_of(root: Path) -> list[str]:
    """The version of a tree, and the keys of its helios.toml."""
    command = [sys.executable, "-c", KEYS, str(ROOT / "crds/src/helios_crds/keys.py")]
    environment = {**os.environ, "PYTHONPATH": str(root / "proxy/src")}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(answer.stdout)
    return found


def built_image(release: Release) -> Path:
    """The archive of an older tree's own proxy, made once by its own `make images`, which takes minutes."""
    archive = release.root.with_suffix(".tar")
    if archive.is_file():
        return archive
    kept = ("MAKE", "MFLAGS", "HELIOS_", "PYTHON")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(kept)}
    environment |= {"PROFILE": "quick", "HELIOS_CACHE": str(find_places().cache)}
    command = ["make", "-s", "images"]
    answer = subprocess.run(command, cwd=release.root, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    lines = [line.split() for line in answer.stdout.splitlines()]
    made = next(Path(line[1]) for line in lines if line[:1] == [PROXY.tag])
    partial = archive.with_suffix(f".{os.getpid()}")
    shutil.copyfile(made, partial)
    return partial.rename(archive)


def tagged(archive: Path, tag: str, folder: Path) -> Path:
    """A copy of a docker archive whose image has another name."""
    copy = folder / f"{tag.rpartition('/')[2].replace(':', '-')}.tar"
    with tarfile.open(archive) as source, tarfile.open(copy, "w") as target:
        for member in source:
            content = source.extractfile(member)
            if member.name == "manifest.json" and content is not None:
                manifest = json.load(content)
                text = json.dumps([{**each, "RepoTags": [tag]} for each in manifest]).encode()
                member.size, content = len(text), io.BytesIO(text)
            if member.name != "repositories":
                target.addfile(member, content)
    return copy


def git(*arguments: str) -> str:
    """What git says in this clone; empty where it fails."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
