"""A real Redis: a process of its own with its own folder, that a test may kill, stop and start again."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from harness.certificates import Authority
from harness.wait import until
from helios.play.process import free_port

__all__ = ["Redis"]

START_SECONDS = 30.0
STOP_SECONDS = 20.0


class Redis:
    """One `redis-server` on loopback; what it was told outlives its end if `is_durable`."""

    def __init__(
        self,
        folder: Path,
        password: str | None = None,
        authority: Authority | None = None,
        is_durable: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        """With `authority` it speaks TLS alone."""
        folder.mkdir(parents=True, exist_ok=True)
        program = shutil.which("redis-server")
        assert program is not None, "`make test` installs it"
        self.port = free_port()
        self._log = folder / "redis.log"
        self._authority = authority
        self._password = password
        self._command = [program, "--bind", "127.0.0.1", "--dir", str(folder), "--daemonize", "no", "--save", ""]
        self._command += ["--appendonly", "yes", "--appendfsync", "always"] if is_durable else []
        self._command += ["--requirepass", password] if password else []
        if authority is None:
            self._command += ["--port", str(self.port)]
        else:
            shown = authority.sign("redis")
            self._command += ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            self._command += ["--tls-cert-file", str(shown.cert), "--tls-key-file", str(shown.key)]
            self._command += ["--tls-ca-cert-file", str(authority.cert)]
        self._command += options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What a configuration calls it."""
        scheme = "redis" if self._authority is None else "rediss"
        return f"{scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> Redis:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, again if need be, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        until(self._answers, "Redis to answer", START_SECONDS)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            self._process = None

    def pause(self) -> None:
        """Have it answer nobody, though its connections stay."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *command: str) -> str:
        """What redis-cli prints."""
        login = ["-a", self._password, "--no-auth-warning"] if self._password else []
        if self._authority is not None:
            login += ["--tls", "--cacert", str(self._authority.cert)]
        asked = ["redis-cli", "-h", "127.0.0.1", "-p", str(self.port), *login, *command]
        return subprocess.run(asked, capture_output=True, text=True, timeout=STOP_SECONDS, check=False).stdout.strip()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        return self.ask("ping") == "PONG"
