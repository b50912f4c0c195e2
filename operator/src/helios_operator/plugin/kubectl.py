"""Everything that the plugin does in a cluster, through the user's own kubectl: their context, their rights.

Called by the verbs. A pod's admin API is reached by a port-forward, with token and certificate out of Secret
`<name>-admin`, which the user must be allowed to read.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from helios.errors import HeliosError
from helios_operator.credentials import Credentials, host_of
from helios_operator.names import INSTANCE, ProxyKey

__all__ = ["Kubectl", "PluginError"]

ANSWER_SECONDS: Final = 15.0
FORWARDED: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")
ERROR: Final = 400
Json = dict[str, Any]


class PluginError(HeliosError):
    """kubectl or a pod refused; the text says what."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl with the options that choose cluster and namespace."""

    options: Sequence[str] = ()
    program: str = field(default_factory=lambda: os.environ.get("KUBECTL", "kubectl"))

    def command(self, *arguments: str) -> list[str]:
        """The whole command line."""
        return [self.program, *self.options, *arguments]

    def run(self, *arguments: str) -> str:
        """What a call writes to stdout. Raises PluginError with its stderr."""
        try:
            answer = subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False)
        except OSError as error:
            raise PluginError(f"cannot run {self.program}: {error.strerror}") from error
        if answer.returncode != 0:
            raise PluginError(answer.stderr.strip() or f"kubectl ended with {answer.returncode}")
        return answer.stdout

    def get(self, kind: str, name: str) -> Json:
        """One object."""
        value: Json = json.loads(self.run("get", kind, name, "-o", "json"))
        return value

    def pods(self, name: str) -> list[str]:
        """Names of a proxy's pods that run."""
        selector = f"{INSTANCE}={name},app.kubernetes.io/managed-by=helios-operator"
        items = json.loads(self.run("get", "pods", "-l", selector, "-o", "json"))["items"]
        running = [item for item in items if item["status"].get("phase") == "Running"]
        return sorted(item["metadata"]["name"] for item in running if "deletionTimestamp" not in item["metadata"])

    @contextmanager
    def forward(self, target: str, port: str) -> Iterator[int]:
        """A local port that leads to a port, by its name or number, of `pod/…` or `service/…`."""
        command = self.command("port-forward", "--address=127.0.0.1", target, f":{port}")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None, "piped"
                found = FORWARDED.search(process.stdout.readline())
                if found is None:
                    process.terminate()
                    raise PluginError(process.communicate()[1].strip() or f"no way to {target}")
                yield int(found[1])
            finally:
                process.terminate()

    def admin(self, key: ProxyKey) -> AdminCalls:
        """Calls to the admin API of a proxy's pods."""
        data = self.get("secret", key.admin).get("data") or {}
        files = {name: base64.b64decode(content) for name, content in data.items()}
        credentials = Credentials.of_files(files)
        if credentials is None:
            raise PluginError(f"Secret/{key.admin} holds no token and certificate")
        port = self.get("service", key.admin)["spec"]["ports"][0]["port"]
        return AdminCalls(self, key, credentials, str(port))


@dataclass(frozen=True)
class AdminCalls:
    """The admin API of one proxy's pods."""

    kubectl: Kubectl
    key: ProxyKey
    credentials: Credentials
    port: str

    def ask(self, pod: str, path: str, body: Json | None = None, patience: float = ANSWER_SECONDS) -> Any:
        """JSON that a pod answers: to a GET, or to a POST of `body`. Raises PluginError."""
        context = ssl.create_default_context(cadata=self.credentials.trust.decode("ascii", "replace"))
        with self.kubectl.forward(f"pod/{pod}", self.port) as local:
            connection = http.client.HTTPConnection("127.0.0.1", local, timeout=patience)
            try:
                plain = socket.create_connection(("127.0.0.1", local), patience)
                connection.sock = context.wrap_socket(plain, server_hostname=host_of(self.key))
                headers = {"Authorization": f"Bearer {self.credentials.tokens[0]}"}
                method, text = ("GET", None) if body is None else ("POST", json.dumps(body))
                connection.request(method, path, text, headers)
                answer = connection.getresponse()
                value = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise PluginError(f"{pod}{path}: {error}") from error
            finally:
                connection.close()
        if answer.status >= ERROR:
            raise PluginError(f"{pod}{path} answered {answer.status}: {value.get('error', value)}")
        return value
