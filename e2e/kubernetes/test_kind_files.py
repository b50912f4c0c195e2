"""The files for kind, which needs a Docker engine: read by kind's own package, and the workflow by actionlint."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from helios_make.go_program import GoProgram, ensure_go_program
from helios_make.kind import ACTIONLINT, CONFIGURATION, READER
from helios_make.kubernetes import LEVELS
from helios_make.places import find_places

PLACES = find_places()
WORKFLOW = PLACES.root / ".github" / "workflows" / "e2e.yaml"


def check(program: GoProgram, file: Path) -> subprocess.CompletedProcess[str]:
    command = [str(ensure_go_program(PLACES, program)), str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_kind_takes_the_configuration() -> None:
    answer = check(READER, PLACES.root / CONFIGURATION)

    assert answer.returncode == 0, answer.stderr
    cluster = json.loads(answer.stdout)
    assert cluster["Name"] == "helios"
    assert [node["Role"] for node in cluster["Nodes"]] == ["control-plane"]
    assert "kindest/node" in cluster["Nodes"][0]["Image"]


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("role: control-plane", "rol: control-plane", "field rol not found"),
        ("role: control-plane", "role: worker", "control-plane"),
        ("v1alpha4", "v1alpha9", "unknown apiVersion"),
        ("ipFamily: ipv4", "ipFamily: ipv5", "ipFamily"),
    ],
)
def test_kind_s_reader_finds_what_is_wrong(right: str, wrong: str, told: str, tmp_path: Path) -> None:
    text = (PLACES.root / CONFIGURATION).read_text()
    assert right in text
    (tmp_path / "cluster.yaml").write_text(text.replace(right, wrong))

    answer = check(READER, tmp_path / "cluster.yaml")

    assert answer.returncode == 1
    assert told in answer.stderr


def test_workflow_runs_this_suite_with_the_kind_whose_reader_is_pinned() -> None:
    answer = check(ACTIONLINT, WORKFLOW)
    assert (answer.returncode, answer.stdout) == (0, "")

    commands = [step["run"] for step in yaml.safe_load(WORKFLOW.read_text())["jobs"]["kind"]["steps"] if "run" in step]
    levels = [level for command in commands for level in re.findall(r"^make e2e LEVEL=(\w+)$", command)]
    assert levels == ["kind"]
    assert set(levels) <= set(LEVELS)
    (pinned,) = re.findall(r"require sigs\.k8s\.io/kind (\S+)", (PLACES.root / READER.module / "go.mod").read_text())
    assert f"go install sigs.k8s.io/kind@{pinned}" in commands


def test_actionlint_finds_what_is_wrong(tmp_path: Path) -> None:
    text = WORKFLOW.read_text()
    (tmp_path / "e2e.yaml").write_text(text.replace("runs-on:", "run-on:").replace("github.ref", "github.reff"))

    answer = check(ACTIONLINT, tmp_path / "e2e.yaml")

    assert answer.returncode == 1
    assert '"run-on"' in answer.stdout
    assert '"reff"' in answer.stdout
