"""`make e2e`, `make cluster` and `make cluster-down` as a person calls them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cluster.state import clusters_folder
from helios_make.cluster import cluster_name
from helios_make.places import find_places

ROOT = Path(__file__).resolve().parents[2]


def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a target of this clone."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "HELIOS_LEVEL"))}
    env.pop("HELIOS_NEEDS", None)
    command = ["make", "-s", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env | variables, capture_output=True, text=True, check=False)


def test_e2e_prints_run_and_skipped_of_the_level() -> None:
    answer = make("e2e", "LEVEL=apiserver", "SELECT=e2e/kubernetes/test_cluster_plan.py")

    assert answer.returncode == 0, answer.stderr
    assert re.search(r"^level apiserver: \d\d run, 0 skipped$", answer.stdout, re.M)
    assert re.search(r"^\d\d passed, 0 failed$", answer.stdout, re.M)


def test_e2e_counts_what_the_level_does_not_serve_as_skipped() -> None:
    answer = make("e2e", "LEVEL=apiserver", "SELECT=e2e/kubernetes/test_cluster_node.py")

    assert re.search(r"^level apiserver: 0 run, \d skipped$", answer.stdout, re.M)
    assert "skipped in apiserver: 4 × needs level node, this is level apiserver" in answer.stdout
    assert answer.returncode != 0, "no test ran"


def test_unknown_level_is_refused_with_those_there_are() -> None:
    answer = make("e2e", "LEVEL=moon")

    assert answer.returncode != 0
    assert "LEVEL=moon: unknown; one of apiserver, node, kind, kubeconfig" in answer.stderr


@pytest.mark.skipif(shutil.which("kind") is not None, reason="kind is installed: the level may run here")
def test_kind_says_in_one_sentence_why_it_cannot_run() -> None:
    answer = make("e2e", "LEVEL=kind", "SELECT=e2e/kubernetes/test_operator_kube.py")

    assert re.search(
        r"^skipped in kind: \d × level kind cannot run here: the program kind is not installed; "
        r"levels that can: apiserver(, node)?(, kubeconfig)?$",
        answer.stdout,
        re.M,
    ), answer.stdout + answer.stderr
    assert answer.returncode != 0, "no test ran"


def test_cluster_stays_until_cluster_down() -> None:
    if (clusters_folder() / cluster_name(find_places())).exists():
        pytest.skip("`make cluster` is up: somebody works with it, and this test would end it")
    up = make("cluster")
    kubeconfig = Path(up.stdout.strip().removeprefix("export KUBECONFIG="))
    again = make("cluster")
    down = make("cluster-down")

    assert (up.returncode, again.returncode, down.returncode) == (0, 0, 0), up.stderr + again.stderr + down.stderr
    assert again.stdout == up.stdout
    assert "is up already" in again.stderr
    assert "is gone" in down.stderr
    assert not kubeconfig.parent.exists()
