"""Terraform or OpenTofu in a folder of the test's, with our provider from a filesystem mirror. Used by e2e/iac."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster import Cluster
from helios_terraform.install import install

__all__ = ["Cli", "CliError", "Project"]

SECONDS = 240.0
"""For one command on a machine that is busy; it takes two on an idle one."""
HEAD = """\
terraform {
  required_providers {
    heliosproxy = { source = "heliosdatabase/heliosproxy" }
  }
}
"""


class CliError(AssertionError):
    """A command ended with another status than 0; the text is what it said."""


@dataclass(frozen=True)
class Cli:
    """One of the two command lines, and where its providers come from."""

    name: str
    program: Path
    config: Path

    @classmethod
    def prepare(cls, name: str, program: Path, folder: Path) -> Cli:
        """Install the provider into a mirror below `folder`, as a user does."""
        install(folder / "mirror")
        config = folder / "cli.tfrc"
        config.write_text(f'provider_installation {{\n  filesystem_mirror {{ path = "{folder / "mirror"}" }}\n}}\n')
        return cls(name, program, config)


@dataclass
class Project:
    """A folder with a configuration."""

    cli: Cli
    folder: Path
    cluster: Cluster
    namespace: str
    arguments: str = ""
    """More in the provider's block."""
    environment: Mapping[str, str] = field(default_factory=dict)
    logs: list[str] = field(default_factory=list)
    """Everything any command said."""

    def write(self, text: str, *, provider: str | None = None) -> None:
        """The configuration: `text` after the provider's block (its own, or `provider`)."""
        block = provider
        if block is None:
            block = f'provider "heliosproxy" {{\n  namespace = "{self.namespace}"\n{self.arguments}\n}}\n'
        self.folder.mkdir(exist_ok=True)
        (self.folder / "main.tf").write_text(f"{HEAD}{block}{text}")
        if not (self.folder / ".terraform").exists():
            self.run("init", "-no-color")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on while the test does something else."""
        plain = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "KUBE"))}
        environment = {
            **plain,
            "TF_CLI_CONFIG_FILE": str(self.cli.config),
            "CHECKPOINT_DISABLE": "1",
            "KUBECONFIG": str(self.cluster.kubeconfig),
            **self.environment,
        }
        return subprocess.Popen(
            [self.cli.program, *arguments],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """(exit status, everything it said)."""
        clock = threading.Timer(SECONDS, os.killpg, [process.pid, signal.SIGKILL])
        clock.start()
        try:
            said, _ = process.communicate()
        finally:
            clock.cancel()
        self.logs.append(said)
        return process.returncode, said

    def outcome(self, *arguments: str) -> tuple[int, str]:
        """Run a command: (exit status, everything it said)."""
        return self.finish(self.start(*arguments))

    def run(self, *arguments: str) -> str:
        """Run a command that must succeed."""
        status, said = self.outcome(*arguments)
        if status != 0:
            raise CliError(f"{self.cli.name} {' '.join(arguments)} ended with {status}:\n{said}")
        return said

    def apply(self, *arguments: str) -> str:
        """Apply without a question."""
        return self.run("apply", "-no-color", "-auto-approve", "-input=false", *arguments)

    def refuse(self, *arguments: str) -> str:
        """Run a command that must fail; what it said, in one line without the frames."""
        status, said = self.outcome(*arguments)
        assert status not in (0, 2), f"{self.cli.name} {' '.join(arguments)} succeeded:\n{said}"
        return flat(said)

    def refuse_apply(self) -> str:
        """Apply what must fail."""
        return self.refuse("apply", "-no-color", "-auto-approve", "-input=false")

    def changes(self) -> dict[str, str]:
        """Plan: address → what would be done (`create`, `update`, `replace`, `delete`); nothing for an empty plan."""
        said = self.run("plan", "-json", "-input=false")
        lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        planned = [each["change"] for each in lines if each["type"] == "planned_change"]
        return {each["resource"]["addr"]: str(each["action"]) for each in planned if each["action"] != "read"}

    def plan(self) -> list[dict[str, Any]]:
        """Plan: every resource with its values before and after."""
        self.run("plan", "-no-color", "-input=false", "-out=plan")
        shown = json.loads(self.run("show", "-json", "plan"))
        found: list[dict[str, Any]] = shown.get("resource_changes") or []
        return found

    def state(self) -> dict[str, dict[str, Any]]:
        """Address → attributes."""
        shown = json.loads(self.run("show", "-json"))
        root = (shown.get("values") or {}).get("root_module") or {}
        return {each["address"]: each["values"] for each in root.get("resources") or ()}

    def outputs(self) -> dict[str, Any]:
        """Name → value of the outputs."""
        return {name: each["value"] for name, each in json.loads(self.run("output", "-json")).items()}


def flat(text: str) -> str:
    """What a command said, in one line: errors are wrapped and framed."""
    return " ".join(text.replace("│", " ").replace("╷", " ").replace("╵", " ").split())
