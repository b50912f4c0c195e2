"""A real `helios serve` process: write its configuration, start it, wait for its ready line, end it by pid.

Called by the fixtures in `e2e/conftest.py` and by tests that need a proxy of their own; hands on `HeliosProcess`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Protocol

from harness.client import Target
from harness.postgres import APP, DATABASE, MONITOR, PASSWORDS
from harness.wait import until

READY = re.compile(r"helios ready listen=(?P<host>[^\s,]+):(?P<port>\d+)(?:,\S+)? admin=(?P<admin>\S+)")
START_DEADLINE = 60.0
STOP_DEADLINE = 30.0

Settings = dict[str, Any]

LOG_LINES = 80
"""Of a log, in the report of a test that failed."""


class HeliosProcess:
    """One running `helios serve`. `port` takes PostgreSQL clients, `admin` is the base URL of the admin API."""

    def __init__(
        self,
        folder: Path,
        settings: Settings | str,
        expect_ready: bool = True,
        nofile: int | None = None,
        program: Sequence[str] = (sys.executable, "-m", "helios"),
        name: str = "helios.toml",
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`environment` is added to that of this process."""
        folder.mkdir(parents=True, exist_ok=True)
        self.config_file = folder / name
        self.log_file = folder / "helios.log"
        self.settings: Settings = {}
        self.port = 0
        self.admin = ""
        self.token: str | None = None
        """What the admin API is asked with."""
        self.write(settings)
        command = [*program, "serve", "-c", str(self.config_file), *arguments]
        if nofile:
            command = ["prlimit", f"--nofile={nofile}:{nofile}", *command]
        _log_files[self.log_file] = None
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=log, cwd=folder, env={**os.environ, **environment}
            )
        if expect_ready:
            self._wait_ready()

    def __enter__(self) -> HeliosProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.kill() if error else self.stop()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def write(self, settings: Settings | str) -> None:
        """Replace the configuration file (a text is written as it is); the process reads it at start and on reload."""
        if isinstance(settings, str):
            self.config_file.write_text(settings)
            return
        self.settings = settings
        self.config_file.write_text(dump_toml(settings))

    def _wait_ready(self) -> None:
        def ready() -> re.Match[str] | None:
            if self._process.poll() is not None:
                raise AssertionError(f"helios serve ended with {self._process.returncode}:\n{self.log()}")
            return READY.search(self.log())

        try:
            match = until(ready, "the ready line of helios serve", START_DEADLINE)
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}\n{self.log()}") from error
        assert match
        self.port, self.admin = int(match["port"]), match["admin"]

    def target(self, database: str = DATABASE, user: str = APP, password: str | None = None) -> Target:
        """Log in through the proxy; `database` is the name clients use."""
        return Target("127.0.0.1", self.port, user, password or PASSWORDS.get(user), database)

    def log(self) -> str:
        """Everything written to stderr so far."""
        return self.log_file.read_text(errors="replace")

    def get(self, path: str, accept: str = "application/json") -> tuple[int, str]:
        """GET on the admin API: status and body."""
        return self._http(urllib.request.Request(self.admin + path, headers={"Accept": accept}))

    def post(self, path: str, body: bytes = b"") -> tuple[int, str]:
        """POST on the admin API: status and body."""
        headers = {"Content-Type": "application/toml"} if body else {}
        return self._http(urllib.request.Request(self.admin + path, method="POST", data=body, headers=headers))

    def post_json(self, path: str, body: Mapping[str, Any], deadline: float = 5.0) -> tuple[int, Any]:
        """POST a JSON object on the admin API: status and answer."""
        headers = {"Content-Type": "application/json"}
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.admin + path, method="POST", data=data, headers=headers)
        status, answer = self._http(request, deadline)
        return status, json.loads(answer)

    def json(self, path: str) -> Any:
        """The JSON document at `path` of the admin API; AssertionError unless it is answered with 200."""
        status, body = self.get(path)
        assert status == 200, (path, status, body)
        return json.loads(body)

    def _http(self, request: urllib.request.Request, deadline: float = 5.0) -> tuple[int, str]:
        if self.token is not None:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=deadline) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def resident_bytes(self) -> int:
        """Resident memory of the process now."""
        return self._status("VmRSS")

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name} for pid {self.pid}")

    def cpu_seconds(self) -> float:
        """User and system time of the process so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def wait(self, deadline: float = STOP_DEADLINE) -> int:
        """Wait for the end; the exit code."""
        return self._process.wait(deadline)

    def running(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it as Ctrl-C does and assert a clean exit without a panic."""
        if self.running():
            self.signal(signal.SIGINT)
            try:
                self.wait()
            except subprocess.TimeoutExpired as error:
                self.kill()
                raise AssertionError(f"helios serve did not end:\n{self.log()}") from error
            assert self._process.returncode == 0, (self._process.returncode, self.log())
        assert "panicked" not in self.log(), self.log()

    def kill(self) -> None:
        """End it at once."""
        if self.running():
            self._process.kill()
        self._process.wait(STOP_DEADLINE)


_log_files: dict[Path, None] = {}
"""Of all processes that were started, in that order."""


def logs_since(moment: float) -> list[tuple[Path, str]]:
    """The ends of the logs that were written to since then (seconds since 1970), also of processes that have ended."""
    written = [file for file in _log_files if file.exists() and file.stat().st_mtime >= moment]
    return [(file, "\n".join(file.read_text(errors="replace").splitlines()[-LOG_LINES:])) for file in written]


StartProxy = Callable[..., HeliosProcess]
"""`start_proxy(**sections)`: start a proxy of the test's own, with `base_settings` and these sections on top."""


def write_users_file(path: Path, users: Mapping[str, str]) -> Path:
    """A users file with `"user" "secret"` lines."""
    lines = [f'"{_doubled(name)}" "{_doubled(secret)}"' for name, secret in users.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def _doubled(text: str) -> str:
    return text.replace('"', '""')


class Servers(Protocol):
    """What a proxy may stand before."""

    def nodes(self) -> list[dict[str, object]]:
        """The `[[clusters.nodes]]` entries of helios.toml."""


def base_settings(cluster: Servers, folder: Path, **sections: Any) -> Settings:
    """Settings for a proxy before `cluster`: two workers that fill up early, any free ports, SCRAM, pools of two.

    HELIOS_IO in the environment says what connections are on. Sections go on top: one given as a dict is merged into
    ours, anything else replaces it.
    """
    users = {user: PASSWORDS[user] for user in PASSWORDS if user != MONITOR}
    settings: Settings = {
        "config_version": 1,
        "listen_address": "127.0.0.1:0",
        "workers": 2,
        "clients_per_worker": 8,
        "admin": {"address": "127.0.0.1:0"},
        "auth": {"method": "scram-sha-256", "users_file": str(write_users_file(folder / "users.txt", users))},
        "monitor": {"user": MONITOR, "password": PASSWORDS[MONITOR]},
        "pool": {"mode": "transaction", "max_size": 2, "acquire_timeout_seconds": 10},
        "drain": {"endpoint_delay_seconds": 0, "timeout_seconds": 10},
        "clusters": [{"name": "main", "nodes": cluster.nodes()}],
    }
    if "HELIOS_IO" in os.environ:
        settings["io"] = os.environ["HELIOS_IO"]
    for name, section in sections.items():
        settings[name] = {**settings.get(name, {}), **section} if isinstance(section, dict) else section
    return settings


def dump_toml(settings: Mapping[str, Any]) -> str:
    """Text of a TOML file; None values are left out."""
    return "\n".join(_table("", settings)).strip() + "\n"


def _table(path: str, table: Mapping[str, Any]) -> list[str]:
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if _is_scalar(value)]
    for key, value in table.items():
        name = f"{path}{key}"
        if isinstance(value, Mapping):
            lines += ["", f"[{name}]", *_table(f"{name}.", value)]
        elif isinstance(value, Sequence) and not _is_scalar(value):
            for entry in value:
                lines += ["", f"[[{name}]]", *_table(f"{name}.", entry)]
    return lines


def _is_scalar(value: object) -> bool:
    if isinstance(value, list):
        return all(not isinstance(entry, Mapping) for entry in value)
    return value is not None and not isinstance(value, Mapping)
