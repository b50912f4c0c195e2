"""A real Prometheus that scrapes what it is told to, with its promtool. Used by e2e/monitoring."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.wait import until
from helios.play.process import free_port

__all__ = ["Prometheus", "promtool"]

START_SECONDS = 30.0
STOP_SECONDS = 20.0


def promtool(*arguments: str | Path) -> str:
    """What promtool prints; AssertionError where it finds fault."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Prometheus:
    """One process with its own folder and port."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        file = folder / "prometheus.json"
        file.write_text(json.dumps(config))  # JSON is YAML too
        promtool("check", "config", file)
        self._log = folder / "prometheus.log"
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        program = shutil.which("prometheus")
        assert program is not None, "`make monitoring` installs it"
        places = [f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [program, *places, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
            )

    def __enter__(self) -> Prometheus:
        until(self._answers, "Prometheus is ready", START_SECONDS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def get(self, path: str, **query: str) -> Any:
        """`data` of an answer of its API."""
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
            told = json.loads(answer.read())
        assert told["status"] == "success", told
        return told["data"]

    def query(self, expression: str) -> list[Any]:
        """The series that an expression has now."""
        series: list[Any] = self.get("query", query=expression)["result"]
        return series
