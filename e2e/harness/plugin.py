"""`kubectl helios` as kubectl calls it, in one namespace of a cluster of the tests."""

from __future__ import annotations

import os
import subprocess
import sys

from harness.resources import Shop

__all__ = ["Plugin"]


class Plugin:
    """The plugin with its answers: exit status, stdout, stderr."""

    def __init__(self, shop: Shop) -> None:
        cluster = shop.cluster
        self._shop = shop
        self._environment = {
            **os.environ,
            **cluster.kubectl_environment,
            "KUBECTL": str(cluster.kubectl_program),
            "KUBECONFIG": str(cluster.kubeconfig),
        }

    def __call__(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        answer = subprocess.run(
            [sys.executable, "-m", "helios_operator.plugin", "--namespace", self._shop.namespace, *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**self._environment, **environment},
            timeout=120,
            check=False,
        )
        return answer.returncode, answer.stdout, answer.stderr
