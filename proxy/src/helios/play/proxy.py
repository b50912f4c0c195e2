"""`helios serve` as a child process: start it on a configuration, wait until it is ready, end it.

Called by helios.play.session. Its log goes to a file, whose last lines are part of the error when it does not start.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from helios.config import ProxyConfig
from helios.config.base import split_address
from helios.config.writer import dumps
from helios.play.errors import PlayError, last_lines
from helios.play.folders import write_private
from helios.play.process import Spawn, spawn

__all__ = ["ProxyProcess"]

READY_SECONDS: Final = 30
STOP_SECONDS: Final = 5
POLL_SECONDS: Final = 0.05


@dataclass
class ProxyProcess:
    """A running `helios serve`. Addresses are those of its configuration, on loopback."""

    config: ProxyConfig
    log_file: Path
    _child: subprocess.Popen[bytes]

    @classmethod
    def start(cls, config: ProxyConfig, config_file: Path, log_file: Path) -> ProxyProcess:
        """Write the configuration and start on it; returns at once. Raises PlayError."""
        write_private(config_file, dumps(config).encode())
        try:
            with os.fdopen(os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as log:
                options = Spawn(stdout=log, stderr=log)
                child = spawn([sys.executable, "-m", "helios", "serve", "-c", config_file], options)
        except OSError as error:
            raise PlayError(f"cannot start helios serve with its log in {log_file}: {error.strerror}") from error
        return cls(config, log_file, child)

    @property
    def address(self) -> tuple[str, int]:
        """Where PostgreSQL clients connect."""
        return split_address(self.config.listen_address)

    @property
    def admin_url(self) -> str:
        """Base URL of the admin API."""
        return f"http://{self.config.admin.address}"

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._child.poll()

    def wait_ready(self, healthy_nodes: int = 0, seconds: float = READY_SECONDS) -> None:
        """Return when it takes clients, knows a primary of every cluster and has found so many nodes healthy.

        Raises PlayError with what /readyz and /nodes say, or with the end of its log when it has ended.
        """
        deadline = time.monotonic() + seconds
        while True:
            status, answer = self.get("/readyz")
            if status == 200 and self._healthy_nodes() >= healthy_nodes:
                return
            if self._child.poll() is not None:
                raise PlayError(f"helios serve did not start:\n{self._log_end()}")
            if time.monotonic() > deadline:
                why = answer.get("message") if isinstance(answer, dict) else "the admin API does not answer"
                raise PlayError(
                    f"Helios is not ready after {seconds:g} s: {why}{self._faulty_nodes()}; see {self.log_file}"
                )
            time.sleep(POLL_SECONDS)

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON document of a GET on the admin API; (0, None) when it does not answer."""
        host, port = split_address(self.config.admin.address)
        connection = http.client.HTTPConnection(host, port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            connection.request("GET", path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        return 0, None

    def stop(self) -> None:
        """End it as Ctrl-C does, and with SIGKILL when clients hold it up."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGINT)
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _healthy_nodes(self) -> int:
        status, topology = self.get("/topology")
        return int(topology["healthyNodes"]) if status == 200 else 0

    def _faulty_nodes(self) -> str:
        _, nodes = self.get("/nodes")
        faults = [f"{node['address']}: {node['last_error']}" for node in nodes or () if node.get("last_error")]
        return f" ({'; '.join(faults)})" if faults else ""

    def _log_end(self) -> str:
        return last_lines(self.log_file.read_text(errors="replace"))
