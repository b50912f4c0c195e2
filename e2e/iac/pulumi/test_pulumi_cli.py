"""Pulumi's command line and a person at it: Ctrl-C in the middle of a wait, a provider that runs under a debugger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.operator import OperatorProcess
from harness.pulumi_stack import Resource, Stack, automated, python_example, running_provider, started
from harness.resources import Shop
from harness.wait import until


def test_ctrl_c_ends_the_wait_and_the_state_is_true(stack: Stack, shop: Shop, operator: OperatorProcess) -> None:
    # The operator accepts the policies; pods that could be ready are not to be had at this level.
    with started(stack, python_example(), "up", wait="true") as process:
        try:
            until(lambda: "analytics" in shop.names("HeliosProxy"), "the object is made", deadline=180)
            [program] = children(process.pid)
            interrupted = time.monotonic()
            os.kill(program, signal.SIGINT)
            _, said = process.communicate(timeout=180)
        finally:
            process.kill()
    print(f"ended {time.monotonic() - interrupted:.1f} s after the interrupt, load {os.getloadavg()[0]:.1f}")

    assert process.returncode != 0
    assert "the wait was interrupted" in said
    kept = {each["type"].rpartition(":")[2]: each for each in resources(stack.folder)}
    assert kept["Instance"]["id"] == f"{shop.namespace}/analytics"
    assert kept["Instance"]["outputs"]["endpoint"] == f"analytics.{shop.namespace}.svc:6432"
    changes = automated(stack, python_example(), "up")["changes"]
    assert "create" not in changes
    assert automated(stack, python_example(), "destroy")["changes"] == {"delete": 4}
    assert shop.names("HeliosProxy") == set()
    assert operator.exit_status is None


def children(pid: int) -> list[int]:
    """Programs that a process has started and that run."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def resources(folder: Path) -> list[dict[str, Any]]:
    """What the stack's state has; nothing in it is half done."""
    [file] = list(folder.rglob("stacks/*/dev.json"))
    latest = json.loads(file.read_text())["checkpoint"]["latest"]
    assert not latest.get("pending_operations")
    listed: list[dict[str, Any]] = latest["resources"]
    return listed


def test_a_provider_that_runs_already_is_attached_to(
    stack: Stack, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = tmp_path / "bin"
    alone.mkdir()
    (alone / "pulumi").symlink_to(stack.bin / "pulumi")
    # With no provider in PATH there is only the one that runs, which has the environment of whoever started it.
    monkeypatch.setenv("PATH", f"{alone}:/usr/bin:/bin")
    monkeypatch.setenv("KUBECONFIG", str(stack.cluster.kubeconfig))

    def program() -> None:
        Resource("PoolProfile", "fast", name="fast", maxPoolSize=5, waitForReady="false")

    with running_provider() as port:
        monkeypatch.setenv("PULUMI_DEBUG_PROVIDERS", f"heliosproxy:{port}")
        assert replace(stack, bin=alone).up(program) == {"create": 2}

    assert shop.get("PoolProfile", "fast")["spec"] == {"maxPoolSize": 5}
