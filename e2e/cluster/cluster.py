"""What a test has in its hands: one cluster, whatever its level. Made by `open_cluster`."""

from __future__ import annotations

import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from cluster.errors import ClusterError, KubectlError
from cluster.level import Level

__all__ = ["Cluster"]

KUBECTL_SECONDS = 180.0


class Cluster(ABC):
    """A Kubernetes API server and what belongs to it."""

    level: Level
    name: str
    kubeconfig: Path
    """Of an administrator; holds everything, so it can be copied."""
    server: str
    """URL of the API server."""
    audit_log: Path | None = None
    """One JSON object a line, written before the answer; None where somebody else runs the API server."""
    kubectl_program: Path
    kubectl_environment: Mapping[str, str] = MappingProxyType({})
    """Added to kubectl's environment."""

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """Run kubectl as administrator; what it writes to stdout.

        Raises:
            KubectlError: it ended with another status than 0; the text is its stderr.
        """
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig), **self.kubectl_environment}
        answer = subprocess.run(
            [self.kubectl_program, *arguments],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            env=env,
            timeout=KUBECTL_SECONDS,
            check=False,
        )
        if answer.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {answer.stderr.strip()}")
        return answer.stdout

    def load_image(self, archive: Path) -> None:
        """Put the images of a docker archive where this cluster's pods find them (imagePullPolicy: Never)."""
        raise ClusterError(f"level {self.level}: images cannot be loaded; {archive} has to be in a registry")

    def stop_apiserver(self) -> None:
        """Kill the API server and nothing else."""
        raise ClusterError(f"level {self.level}: the API server is not ours to stop")

    def start_apiserver(self) -> None:
        """Start it again and wait until it is ready."""
        raise ClusterError(f"level {self.level}: the API server is not ours to start")

    @abstractmethod
    def close(self) -> None:
        """Remove everything that was made for this cluster; a second time does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
