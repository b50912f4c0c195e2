"""The real helm on a cluster of the tests: one call, its output, or its error."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cluster import Cluster
from helios_make.helm import ensure_helm
from helios_make.places import find_places

__all__ = ["CHARTS", "Helm", "HelmError"]

CHARTS = Path(__file__).resolve().parents[2] / "helm"
HELM_SECONDS = 180.0


class HelmError(Exception):
    """helm ended with another status than 0; the text is its stderr."""


class Helm:
    """Releases of one namespace, with helm's own files in `folder`."""

    def __init__(self, cluster: Cluster | None, namespace: str, folder: Path) -> None:
        self._program = ensure_helm(find_places())
        self._namespace = namespace
        places = {
            name: str(folder / name.lower()) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")
        }
        self._environment = {**os.environ, **places, "KUBECONFIG": str(cluster.kubeconfig) if cluster else os.devnull}

    def __call__(self, *arguments: str, input: str | None = None) -> str:
        """Run helm; what it writes to stdout."""
        answer = subprocess.run(
            [self._program, *arguments, "--namespace", self._namespace],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            env=self._environment,
            timeout=HELM_SECONDS,
            check=False,
        )
        if answer.returncode != 0:
            raise HelmError(f"helm {' '.join(arguments)}: {answer.stderr.strip()}{answer.stdout.strip()}")
        return answer.stdout
