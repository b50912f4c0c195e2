"""Tokens from a program, as clouds hand them out: `users[].user.exec` of a kubeconfig. Called by `helios.kube.access`.

The program writes an ExecCredential to its stdout. A token is used until it expires or is refused, then the program
runs again, also in the middle of a wait. Plugins that answer with certificates are refused: a connection keeps its own.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from helios.kube.errors import KubeAccessError

__all__ = ["ExecPlugin"]

PLUGIN_SECONDS: Final = 60.0
"""A plugin that asks a cloud takes some seconds; one that waits for a person would hang here."""
VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


@dataclass(frozen=True)
class ExecPlugin:
    """One program and how it is called."""

    command: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to that of this process."""
    api_version: str = VERSIONS[0]
    hint: str = ""
    """What the kubeconfig says about installing it."""
    where: str = "exec"
    """Where it is written, for messages."""

    @classmethod
    def from_user(cls, block: Any, folder: Path, where: str) -> ExecPlugin:
        """The plugin of a kubeconfig in `folder`. Raises KubeAccessError."""
        if not isinstance(block, Mapping) or not block.get("command"):
            raise KubeAccessError(f"{where} has no command")
        version = str(block.get("apiVersion") or VERSIONS[0])
        if version not in VERSIONS:
            raise KubeAccessError(f"{where}.apiVersion is {version}; known are {' and '.join(VERSIONS)}")
        command = str(block["command"])
        # As kubectl: a name is looked for in PATH, a path with a slash is relative to the kubeconfig.
        command = str(folder / command) if "/" in command else command
        variables = {str(each["name"]): str(each["value"]) for each in block.get("env") or ()}
        arguments = tuple(str(each) for each in block.get("args") or ())
        return cls(command, arguments, variables, version, str(block.get("installHint") or ""), where)

    def token(self) -> tuple[str, float | None]:
        """(token, seconds it may be used; None where the plugin does not say). Raises KubeAccessError."""
        request = {"apiVersion": self.api_version, "kind": "ExecCredential", "spec": {"interactive": False}}
        environment = {**os.environ, **self.environment, "KUBERNETES_EXEC_INFO": json.dumps(request)}
        try:
            answer = subprocess.run(
                [self.command, *self.arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PLUGIN_SECONDS,
                check=False,
            )
        except OSError as error:
            hint = f"; {self.hint}" if self.hint else ""
            raise KubeAccessError(f"{self.where}: {self.command} cannot be started: {error.strerror}{hint}") from error
        except subprocess.TimeoutExpired as error:
            raise KubeAccessError(f"{self.where}: {self.command} did not end within {PLUGIN_SECONDS:.0f} s") from error
        if answer.returncode != 0:
            said = answer.stderr.strip()[-500:]
            raise KubeAccessError(f"{self.where}: {self.command} ended with status {answer.returncode}: {said}")
        return self._read(answer.stdout)

    def _read(self, text: str) -> tuple[str, float | None]:
        try:
            status = json.loads(text)["status"]
            token, expires = status.get("token"), status.get("expirationTimestamp")
            left = None if expires is None else _seconds_until(str(expires))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise KubeAccessError(f"{self.where}: {self.command} wrote no ExecCredential") from error
        if not token:
            raise KubeAccessError(f"{self.where}: {self.command} gave no token; certificates are not supported")
        return str(token), left


def _seconds_until(moment: str) -> float:
    """Until a time in RFC 3339; the clocks' difference is why the token is also renewed when it is refused."""
    return (datetime.fromisoformat(moment.replace("Z", "+00:00")) - datetime.now(UTC)).total_seconds()
