"""A real OCI registry on loopback, with its content in a folder. Used by the tests of what is published."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from types import TracebackType

from harness.wait import until
from helios.play.process import free_port
from helios_make.places import find_places
from helios_make.system_packages import install_packages

__all__ = ["Registry"]

SECONDS = 30.0


class Registry:
    """One process; `host` is what references begin with."""

    def __init__(self, folder: Path) -> None:
        install_packages(find_places(), ["docker-registry"], why="an OCI registry", seconds=10, megabytes=20)
        folder.mkdir(parents=True)
        self.host = f"127.0.0.1:{free_port()}"
        config = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(folder / "content")}},
            "http": {"addr": self.host},
        }
        file = folder / "config.yml"
        file.write_text(json.dumps(config))  # JSON is YAML too
        self._log = folder / "registry.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(["docker-registry", "serve", file], stdout=log, stderr=log)

    def __enter__(self) -> Registry:
        try:
            until(self._answers, "the registry answers", SECONDS)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end()

    def tags(self, name: str) -> list[str]:
        """Tags of a repository."""
        with urllib.request.urlopen(f"http://{self.host}/v2/{name}/tags/list", timeout=SECONDS) as answer:
            found: list[str] = json.load(answer)["tags"]
        return found

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"http://{self.host}/v2/", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(SECONDS)
