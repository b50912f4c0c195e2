"""A Pulumi stack whose program is a Python function, run by Pulumi's own command line. Used by e2e/iac.

The Automation API serves the program itself, so no language host is needed; the provider is found in PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi import automation

from cluster import Cluster
from helios_make.iac_programs import find_cli
from helios_make.places import find_places
from helios_make.sdks import python_folder

__all__ = [
    "Resource",
    "Stack",
    "StackError",
    "automated",
    "prepare",
    "python_example",
    "running_provider",
    "started",
]

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300.0
"""For one command on a busy machine."""
Program = Callable[[], None]
StackError = automation.errors.CommandError


def prepare(folder: Path) -> Path | None:
    """A folder for PATH with the command line and our provider; None where the command line was not built."""
    program = find_cli(find_places(), "pulumi")
    if program is None:
        return None
    folder.mkdir(exist_ok=True)
    shutil.copy(program, folder / "pulumi")
    provider = folder / "pulumi-resource-heliosproxy"
    provider.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m helios_pulumi "$@"\n')
    provider.chmod(provider.stat().st_mode | stat.S_IXUSR)
    return folder


@dataclass
class Stack:
    """A stack in a folder of its own, with a file back end."""

    bin: Path
    folder: Path
    cluster: Cluster
    namespace: str
    config: Mapping[str, str] = field(default_factory=dict)
    """More of the provider's configuration."""
    said: list[str] = field(default_factory=list)
    """Everything that any command said."""

    @property
    def environment(self) -> dict[str, str]:
        """What Pulumi's command line needs to know, and whoever starts it."""
        return {
            "PATH": f"{self.bin}{os.pathsep}{os.environ.get('PATH', '')}",
            "PULUMI_BACKEND_URL": f"file://{self.folder}",
            "PULUMI_CONFIG_PASSPHRASE": "passphrase",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            # Only Pulumi's own releases know their version.
            "PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK": "true",
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "KUBECONFIG": str(self.cluster.kubeconfig),
        }

    def open(self, program: Program) -> Any:
        """The stack with this program."""
        self.folder.mkdir(exist_ok=True)
        environment = self.environment
        options = automation.LocalWorkspaceOptions(env_vars=environment, work_dir=str(self.folder))
        os.environ["PATH"] = environment["PATH"]  # the Automation API looks for the command line itself
        stack = automation.create_or_select_stack("test", "helios", program, opts=options)
        values = {"heliosproxy:namespace": self.namespace, **self.config}
        stack.set_all_config({name: automation.ConfigValue(value) for name, value in values.items()})
        return stack

    def up(self, program: Program) -> dict[str, int]:
        """Bring the stack in line: what was done to how many."""
        result = self.open(program).up(on_output=self.said.append)
        return {name: count for name, count in (result.summary.resource_changes or {}).items() if name != "same"}

    def preview(self, program: Program) -> dict[str, int]:
        """What `up` would do."""
        result = self.open(program).preview(on_output=self.said.append)
        return {str(name): count for name, count in result.change_summary.items() if name != "same"}

    def outputs(self, program: Program) -> dict[str, Any]:
        """Name → value, secrets too."""
        return {name: output.value for name, output in self.open(program).outputs().items()}

    def state(self, program: Program) -> list[dict[str, Any]]:
        """The resources in the stack's state."""
        deployment = self.open(program).export_stack().deployment
        return [each for each in deployment.get("resources", []) if not each["type"].startswith("pulumi:")]

    @property
    def text(self) -> str:
        """Everything that was said, in one line."""
        return " ".join("\n".join(self.said).split())


class Resource(pulumi.CustomResource):
    """One of our resources by its token, without an SDK."""

    name: pulumi.Output[str]
    endpoint: pulumi.Output[str]
    currentPrimary: pulumi.Output[str]

    def __init__(self, token: str, label: str, options: pulumi.ResourceOptions | None = None, /, **inputs: Any) -> None:
        outputs = {"endpoint": None, "connectionSecret": None, "currentPrimary": None, "name": None, "namespace": None}
        super().__init__(f"heliosproxy:index:{token}", label, {**outputs, **inputs}, options)


@contextmanager
def running_provider() -> Iterator[int]:
    """The provider as Pulumi starts it; its port."""
    with subprocess.Popen(
        [sys.executable, "-m", "helios_pulumi"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def python_example() -> list[str]:
    """How the example's program in Python is started."""
    if not python_folder(find_places()).is_dir():
        pytest.skip("the SDK of Python is not installed; make test-pulumi does it")
    return [sys.executable, str(ROOT / "pulumi" / "examples" / "python" / "automate.py")]


def started(stack: Stack, command: Sequence[str], verb: str, *, wait: str = "false") -> subprocess.Popen[str]:
    """An example's program that goes on while the test does something else."""
    stack.folder.mkdir(exist_ok=True)
    settings = {"NAMESPACE": stack.namespace, "WAIT": wait, "PYTHONPATH": str(python_folder(find_places()))}
    return subprocess.Popen(
        [*command, verb],
        env={**os.environ, **stack.environment, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=stack.folder,
    )


def automated(stack: Stack, command: Sequence[str], verb: str) -> dict[str, Any]:
    """Run an example's program: what it printed."""
    with started(stack, command, verb) as process:
        try:
            said, errors = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    printed: dict[str, Any] = json.loads(said.splitlines()[-1])
    return printed
