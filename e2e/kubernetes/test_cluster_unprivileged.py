"""Level apiserver needs no root, and whoever may not run a node is told so in one sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import Level
from cluster.programs import find_programs
from harness.leftovers import processes_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("e2e/cluster", ".make/helios_make", "proxy/src/helios")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run something as somebody else")

RunAsNobody = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter, with a copy of the packages: the clone may be where only root looks."""
    with tempfile.TemporaryDirectory(prefix="helios-") as name:
        made = Path(name)
        made.chmod(0o755)
        for package in PACKAGES:
            shutil.copytree(ROOT / package, made / package, ignore=shutil.ignore_patterns("__pycache__"))
        (made / "cache").mkdir()
        (made / "cache").chmod(0o777)
        (made / "cache" / "locks").mkdir(mode=0o777)
        yield made


@pytest.fixture
def as_nobody(folder: Path) -> RunAsNobody:
    """`python -m cluster …` run by the user nobody, with programs that root built."""
    programs = find_programs(Level.APISERVER)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HELIOS_CACHE": str(folder / "cache"),
        "KUBEBUILDER_ASSETS": str(programs["etcd"].parent),
        "PYTHONPATH": os.pathsep.join(str(folder / package.rpartition("/")[0]) for package in PACKAGES),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["runuser", "-u", "nobody", "--", sys.executable, "-m", "cluster", *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return run


def test_api_server_needs_no_root(folder: Path, as_nobody: RunAsNobody) -> None:
    up = as_nobody("up", "apiserver", "mine")
    kubeconfig = up.stdout.strip().rpartition("=")[2]
    kubectl = [str(find_programs(Level.APISERVER)["kubectl"]), "--kubeconfig", kubeconfig]
    processes = processes_of(folder / "cache" / "clusters" / "mine")
    owners = {Path("/proc", str(pid)).owner() for pid in processes}
    answer = subprocess.run([*kubectl, "get", "--raw", "/readyz"], capture_output=True, text=True, check=False)
    down = as_nobody("down", "mine")

    assert (up.returncode, answer.stdout, down.returncode) == (0, "ok", 0), up.stderr + answer.stderr + down.stderr
    assert owners == {"nobody"}
    assert not processes_of(folder / "cache" / "clusters" / "mine")


def test_one_sentence_says_that_a_node_needs_root(as_nobody: RunAsNobody) -> None:
    answer = as_nobody("check", "node")

    assert answer.returncode == 3
    assert answer.stdout == (
        "level node cannot run here: namespaces, mounts and cgroups of a node need root; levels that can: apiserver\n"
    )
